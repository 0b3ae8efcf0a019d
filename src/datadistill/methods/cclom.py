"""CCLoM, the contrastive classification loss of pre-trained models: Lu et al., 2023, arXiv:2310.03295.

Added to the objective of any method, in the paper's symbols, with the features e of a frozen network, over synthetic
images i and real images j::

    L = α Σ_ij M_ij d_ij / Σ_ij d_ij
    d_ij = 1 − cos(e(s_i), e(x_j)),  M_ij = 1 where both are of one class

It needs no pairs. With s_i and r_j the features at length 1, R_c the sum of r_j over class c, R that over all, n_c real
images of class c and B of all::

    L = α [Σ_i n_{y_i} − ⟨s_i, R_{y_i}⟩] / [N B − Σ_i ⟨s_i, R⟩]

Differences from the reference implementation (yaolu-zjut/DDInterpreter):

* R_c are worked out once per teacher, over all real images unless told otherwise; the reference draws a batch and
  embeds it in every iteration.
* The real images may be those of the teachers' data.
* What CLoM does in another way than its reference holds here as well.
"""

from collections.abc import Callable
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
from datadistill.methods.base import Problem
from datadistill.methods.teacher_terms import Opinion, TeacherTerm, pieces


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
            parts = [distances(leaf, own) for leaf, own in pieces(images, targets, self.batch_size)]
            a, b = (torch.stack(each).sum() for each in zip(*parts, strict=True))
        gradients = []
        for leaf, own in pieces(images, targets, self.batch_size):
            within, everywhere = distances(leaf, own)
            gradients.append(torch.autograd.grad(within / b - a / b**2 * everywhere, leaf)[0])
        return a / b, torch.cat(gradients)
