"""Teachers: networks trained on real data beforehand, as functions of the images of a run."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from datadistill.core.arrays import Images, Logits, Params, Statistics
from datadistill.networks import FlatNetwork
from datadistill.training.looking import LOOKED_AT


def _same(images: Tensor) -> Images:
    return images


@dataclass(frozen=True)
class Teacher:
    """One trained network; nothing in it changes.

    Attributes:
        network: For images of the run, and the classes of the set it was trained on.
        params: Its parameters.
        statistics: Its batch-norm statistics.
        adapt: Brings images from the network space of the run to the one it was trained in; differentiable.
    """

    network: FlatNetwork
    params: Params
    statistics: Statistics
    adapt: Callable[[Images], Images] = _same

    def __call__(self, images: Images) -> Logits:
        """Return its logits, ``[n k]``, differentiable in the images."""
        return self.network(self.params.to(images), self.adapt(images), self.statistics.to(images))

    def logits_of(self, images: Images) -> Logits:
        """Return its logits of any number of images, a part of them at a time, without a graph."""
        with torch.no_grad():
            return torch.cat([self(part) for part in images.split(LOOKED_AT)])

    def features(self, images: Images) -> Float[Tensor, "n d"]:
        """Return what its last linear layer sees, differentiable in the images."""
        return self.network.features(self.params.to(images), self.adapt(images), self.statistics.to(images))


@dataclass(frozen=True)
class TeacherPool:
    """Several teachers, of one architecture or of several.

    Attributes:
        teachers: In the order of the recipe: all of the first architecture, then those of the next.
    """

    teachers: tuple[Teacher, ...]

    def __len__(self) -> int:
        return len(self.teachers)

    def draw(self, generator: torch.Generator) -> Teacher:
        """Return one of them."""
        return self.teachers[int(torch.randint(len(self), (), generator=generator))]

    def sample(self, count: int, generator: torch.Generator) -> tuple[Teacher, ...]:
        """Return ``count`` different ones.

        Raises:
            ValueError: If there are fewer.
        """
        if not 1 <= count <= len(self):
            raise ValueError(f"{count} of {len(self)} teachers cannot be drawn")
        return tuple(self.teachers[j] for j in torch.randperm(len(self), generator=generator)[:count].tolist())

    def of(self, network: str) -> "TeacherPool":
        """Return those of one architecture, by the canonical name of the network."""
        return TeacherPool(tuple(teacher for teacher in self.teachers if teacher.network.name == network))
