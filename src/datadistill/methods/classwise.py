"""What all methods share that compare real and synthetic images class by class; not a method itself."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from datadistill.core.arrays import Images
from datadistill.core.randomness import Randomness
from datadistill.data.sampling import draw_batches
from datadistill.methods.base import Metrics, Need, Problem, TensorGradients, WithoutStudents
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.learnable import LearnableSet, Rates


@dataclass(frozen=True)
class ClassPair:
    """What there is to compare of one class, augmented by the same numbers.

    Attributes:
        label: The class.
        real: Real images of it.
        synthetic: Its synthetic images, to be differentiated.
        leaf: The same before they were augmented.
    """

    label: int
    real: Float[Tensor, "b c h w"]
    synthetic: Images
    leaf: Images

    def pulled_back(self, gradient: Images) -> Images:
        """Return the gradient by the images of the set, given the one by :attr:`synthetic`."""
        return torch.autograd.grad(self.synthetic, self.leaf, gradient)[0]


L = TypeVar("L", bound=LearnableSet)


@dataclass(frozen=True, kw_only=True)
class ClassMatching(WithoutStudents, ABC, Generic[L]):
    """Synthetic images of a class that should do to a network what real images of it do.

    Attributes:
        batch_real: Real images per class and iteration, drawn without repeats; a class with fewer gives all it has.
        image_lr: Step size of the pixels (SGD, momentum ``momentum``).
        momentum: In [0, 1).
    """

    batch_real: int = 256
    image_lr: float = 1.0
    momentum: float = 0.5

    def __post_init__(self) -> None:
        if self.batch_real < 1:
            raise ValueError(f"batch_real must be at least 1, got {self.batch_real}")
        if not self.image_lr > 0:
            raise ValueError(f"image_lr must be positive, got {self.image_lr}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")

    @property
    def needs(self) -> frozenset[Need]:
        """Nothing."""
        return frozenset()

    @property
    def variant_names(self) -> tuple[str, ...]:
        """There is one set."""
        return ()

    @property
    def rates(self) -> Rates:
        """How the images are updated."""
        return Rates(images=self.image_lr, momentum=self.momentum)

    @abstractmethod
    def gradient(self, problem: Problem, state: L, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the value of the objective and its gradients."""

    def pairs(self, problem: Problem, state: L, rng: Randomness) -> Iterator[ClassPair]:
        """Yield what there is to compare of each class; the next one is made when it is asked for.

        Raises:
            ValueError: If the classes of the set do not lie one after another, with as many images each.
        """
        device, k = problem.device, problem.data.classes
        rows = draw_batches(problem.real_rows, self.batch_real, rng.stream("real"), device)
        draws = problem.augment.draw(rng.stream("augment"), steps=k, batch=1).to(device)
        for label, (own, images) in enumerate(zip(rows, problem.class_parts(state.images), strict=True)):
            leaf = images.detach().clone().requires_grad_()
            real = problem.preprocess(problem.data.train.images[own]).to(leaf.dtype)
            yield ClassPair(
                label=label,
                real=problem.augment.apply(real, draws[label]),
                synthetic=problem.augment.apply(leaf, draws[label]),
                leaf=leaf,
            )

    def export(self, problem: Problem, state: L) -> SyntheticSet:
        """Return images and one-hot targets."""
        return state.freeze()

    def variants(self, problem: Problem, state: L) -> dict[str, SyntheticSet]:
        """Return nothing."""
        return {}
