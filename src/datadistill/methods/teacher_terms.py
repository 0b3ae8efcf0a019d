"""What all terms share that ask trained networks, their *teachers*, what they see; not a term itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from datadistill.core.arrays import Images, Scalar, Targets
from datadistill.core.errors import UsageError
from datadistill.core.randomness import Randomness
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


def pieces(images: Images, targets: Targets, size: int) -> Iterator[tuple[Images, Targets]]:
    """Yield so many images at a time, to be differentiated, with their targets."""
    for part, own in zip(images.split(size), targets.split(size), strict=True):
        yield part.detach().requires_grad_(), own
