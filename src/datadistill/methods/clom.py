"""CLoM and CCLoM, what pre-trained models add to any method: Lu et al., 2023, arXiv:2310.03295.

With a pool of networks trained on real data (*teachers*), frozen, and added to the objective of a method, in the
paper's symbols::

    CLoM   L = α ℓ(f(S), y)                                       cross-entropy of a teacher f on the set
    CCLoM  L = α Σ_ij M_ij d_ij / Σ_ij d_ij                       over synthetic images i and real images j
           d_ij = 1 − cos(e(s_i), e(x_j)),  M_ij = 1 where both are of one class

CCLoM needs no pairs. With s_i and r_j the features e(·) at length 1, R_c the sum of r_j over class c, R that over all,
n_c real images of class c and B of all::

    L = α [Σ_i n_{y_i} − ⟨s_i, R_{y_i}⟩] / [N B − Σ_i ⟨s_i, R⟩]

Differences from the reference implementation (yaolu-zjut/DDInterpreter):

* Teachers are asked as at evaluation: batch norm has the statistics of their training, and keeps them.
* R_c are worked out once per teacher, over all real images unless told otherwise; the reference draws a batch and
  embeds it in every iteration.
* The set is looked at in pieces, so that memory does not grow with it: the same gradient.
* Images are brought to the space a teacher was trained in; the reference takes the constants of the target data.
* Several teachers may be asked in one iteration, and their mean taken.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datadistill.core.arrays import Images, Scalar, Targets
from datadistill.core.errors import UsageError
from datadistill.core.randomness import Randomness
from datadistill.data import RealData
from datadistill.experts import Teacher
from datadistill.methods.base import Need, Problem, TensorGradients, Term

Opinion = Callable[[Images, Targets], tuple[Scalar, Images]]
"""What one teacher adds to the objective, and its gradient by the images."""


@dataclass(frozen=True, kw_only=True)
class TeacherTerm(ABC):
    """A term that asks some teachers of the pool in every iteration.

    Attributes:
        alphas: α: one number for all teachers, or one per architecture, in the order of ``teachers.networks``.
        asked: Teachers asked in every iteration, drawn without repeats; their mean is taken.
        batch_size: Images looked at together; changes memory, not the result.
    """

    alphas: tuple[float, ...]
    asked: int = 1
    batch_size: int = 256

    def __post_init__(self) -> None:
        if not self.alphas or not min(self.alphas) >= 0:
            raise ValueError(f"alphas must be numbers that are not negative, got {list(self.alphas)}")
        if min(self.asked, self.batch_size) < 1:
            raise ValueError("asked and batch_size must be at least 1")

    @property
    def needs(self) -> frozenset[Need]:
        """Teachers."""
        return frozenset({"teachers"})

    @abstractmethod
    def opinions(self, problem: Problem, rng: Randomness) -> list[Opinion]:
        """Return what each teacher of the pool has to say, without α."""

    def prepare(self, problem: Problem, rng: Randomness) -> Term:
        """Return the term.

        Raises:
            UsageError: If there are fewer teachers than are asked, or neither one α nor one per architecture.
        """
        alphas, opinions = self._alpha_each(problem), self.opinions(problem, rng)
        if self.asked > len(opinions):
            raise UsageError(f"asked is {self.asked}, but there are {len(opinions)} teachers")

        def term(images: Images, targets: Targets, rng: Randomness) -> tuple[Scalar, TensorGradients]:
            chosen = torch.randperm(len(opinions), generator=rng.stream("teacher"))[: self.asked].tolist()
            found = [(alphas[j] / self.asked, *opinions[j](images.detach(), targets.detach())) for j in chosen]
            value = torch.stack([alpha * value for alpha, value, _ in found]).sum()
            return value, {"images": torch.stack([alpha * gradient for alpha, _, gradient in found]).sum(0)}

        return term

    def _alpha_each(self, problem: Problem) -> list[float]:
        """Return α of each teacher."""
        names = [teacher.network.name for teacher in problem.require_teachers().teachers]
        architectures = list(dict.fromkeys(names))
        if len(self.alphas) not in (1, len(architectures)):
            raise UsageError(
                f"{len(self.alphas)} alphas for {len(architectures)} architectures; give one, or one of each"
            )
        each = self.alphas if len(self.alphas) > 1 else self.alphas * len(architectures)
        return [each[architectures.index(name)] for name in names]


@dataclass(frozen=True, kw_only=True)
class CLoM(TeacherTerm):
    """Classification loss of pre-trained models."""

    def opinions(self, problem: Problem, rng: Randomness) -> list[Opinion]:
        """Return the mean cross-entropy of each teacher on a set.

        Raises:
            UsageError: If they were trained on other classes.
        """
        source = problem.source[0].card if problem.source is not None else problem.data.card
        if source.classes != problem.data.card.classes:
            raise UsageError(
                f"clom: its teachers know the classes of '{source.name}', which are not those of "
                f"'{problem.data.card.name}'; take cclom, or leave teachers.dataset out"
            )

        def opinion(teacher: Teacher) -> Opinion:
            def ask(images: Images, targets: Targets) -> tuple[Scalar, Images]:
                total, gradients = images.new_zeros(()), []
                for leaf, own in _pieces(images, targets, self.batch_size):
                    loss = F.cross_entropy(teacher(leaf), own, reduction="sum") / len(images)
                    gradients.append(torch.autograd.grad(loss, leaf)[0])
                    total += loss.detach()
                return total, torch.cat(gradients)

            return ask

        return [opinion(teacher) for teacher in problem.require_teachers().teachers]


@dataclass(frozen=True, kw_only=True)
class CCLoM(TeacherTerm):
    """Contrastive classification loss of pre-trained models.

    Attributes:
        real: Real images of which set: ``target``, that of the run; ``source``, that of the teachers, which must have
            the same classes.
        batch_real: How many of them, drawn once; absent for all.
    """

    real: Literal["target", "source"] = "target"
    batch_real: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_real is not None and self.batch_real < 1:
            raise ValueError(f"batch_real must be at least 1, got {self.batch_real}")

    def opinions(self, problem: Problem, rng: Randomness) -> list[Opinion]:
        """Return the ratio of distances of each teacher for a set.

        Raises:
            UsageError: If the real images are to be those of the teachers, and they have other classes or sizes.
        """
        data, pixels_in = self._real(problem)
        count = len(data.train)
        chosen = torch.randperm(count, generator=rng.stream("real"))[: self.batch_real].to(problem.device)
        labels = F.one_hot(data.train.labels[chosen], data.classes)

        def opinion(teacher: Teacher) -> Opinion:
            sums = torch.zeros((), device=problem.device)
            with torch.no_grad():
                for rows, own in zip(chosen.split(self.batch_size), labels.split(self.batch_size), strict=True):
                    features = pixels_in(teacher, data.train.images[rows])
                    sums = sums + own.to(features.dtype).T @ F.normalize(features, dim=1)
            counts = labels.sum(0).to(sums.dtype)

            def ask(images: Images, targets: Targets) -> tuple[Scalar, Images]:
                return self._ratio(teacher, images, targets.to(sums.dtype), sums, counts)

            return ask

        return [opinion(teacher) for teacher in problem.require_teachers().teachers]

    def _real(self, problem: Problem) -> tuple[RealData, Callable[[Teacher, Tensor], Tensor]]:
        """Return the set with the real images, and what a teacher makes of its bytes."""
        dtype = problem.initial_images.dtype
        if self.real == "target" or problem.source is None:
            return problem.data, lambda teacher, images: teacher.features(problem.preprocess(images).to(dtype))
        data, preprocess = problem.source
        if data.card.classes != problem.data.card.classes or data.card.shape != problem.data.card.shape:
            raise UsageError(
                f"cclom: real = 'source' compares with images of '{data.card.name}', whose classes or size are not "
                f"those of '{problem.data.card.name}'; take real = 'target'"
            )
        return data, lambda teacher, images: teacher.network.features(
            teacher.params, preprocess(images).to(dtype), teacher.statistics
        )

    def _ratio(
        self, teacher: Teacher, images: Images, targets: Targets, sums: Tensor, counts: Tensor
    ) -> tuple[Scalar, Images]:
        """Return the ratio of the distances within classes to all, and its gradient by the images.

        Args:
            teacher: Whose features.
            images: The synthetic images.
            targets: Theirs.
            sums: R, unit features of the real images summed per class, ``[k d]``.
            counts: n, real images per class, ``[k]``.
        """

        def distances(leaf: Images, own: Targets) -> tuple[Scalar, Scalar]:
            units = F.normalize(teacher.features(leaf), dim=1)
            within = (own @ counts).sum() - (units * (own @ sums)).sum()
            return within, len(leaf) * counts.sum() - (units @ sums.sum(0)).sum()

        if len(images) <= self.batch_size:
            leaf = images.requires_grad_()
            within, everywhere = distances(leaf, targets)
            value = within / everywhere
            return value.detach(), torch.autograd.grad(value, leaf)[0]
        with torch.no_grad():
            parts = [distances(leaf, own) for leaf, own in _pieces(images, targets, self.batch_size)]
            a, b = (torch.stack(each).sum() for each in zip(*parts, strict=True))
        gradients = []
        for leaf, own in _pieces(images, targets, self.batch_size):
            within, everywhere = distances(leaf, own)
            gradients.append(torch.autograd.grad(within / b - a / b**2 * everywhere, leaf)[0])
        return a / b, torch.cat(gradients)


def _pieces(images: Images, targets: Targets, size: int) -> Iterator[tuple[Images, Targets]]:
    """Yield so many images at a time, to be differentiated, with their targets."""
    for part, own in zip(images.split(size), targets.split(size), strict=True):
        yield part.detach().requires_grad_(), own
