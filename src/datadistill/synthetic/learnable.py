"""The synthetic set while it is being learned: images, targets, step size, and how each is updated."""

from dataclasses import dataclass

import torch
from torch import Tensor

from datadistill.core.arrays import Images, Targets
from datadistill.core.errors import CorruptFileError
from datadistill.synthetic.artifact import SyntheticSet


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Step sizes of the outer optimisation: SGD with one momentum. ``None`` means the tensor is not learned.

    Attributes:
        images: For the pixels, in network space.
        targets: For the targets.
        student_lr: For the student's step size.
        momentum: In [0, 1).
    """

    images: float
    targets: float | None = None
    student_lr: float | None = None
    momentum: float = 0.5

    def of(self, name: str) -> float | None:
        """Return the step size of the tensor called ``name``."""
        rate: float | None = getattr(self, name)
        return rate


class LearnableSet:
    """Images, targets and step size with the momentum of each.

    The student's step size stays positive: an update δ that would lower α multiplies it by exp(δ/α)
    instead, which equals α + δ to first order; one that raises it is added as it is.
    """

    def __init__(self, images: Images, targets: Targets, rates: Rates, student_lr: Tensor | None = None) -> None:
        self.rates = rates
        self.values: dict[str, Tensor] = {"images": images.clone(), "targets": targets.clone()}
        if student_lr is not None:
            self.values["student_lr"] = student_lr.to(images).clone()
        learned = [name for name in self.values if rates.of(name) is not None]
        self.velocities = {name: torch.zeros_like(self.values[name]) for name in learned}

    @property
    def images(self) -> Images:
        """The images, ``[n c h w]``."""
        return self.values["images"]

    @property
    def targets(self) -> Targets:
        """The targets, ``[n k]``."""
        return self.values["targets"]

    @property
    def student_lr(self) -> Tensor:
        """The student's step size: one entry, or one per step."""
        return self.values["student_lr"]

    def update(self, gradients: dict[str, Tensor]) -> None:
        """Take one optimiser step, in place, with the gradients of the learned tensors."""
        for name, velocity in self.velocities.items():
            velocity.mul_(self.rates.momentum).add_(gradients[name])
            delta = -float(self.rates.of(name) or 0.0) * velocity
            value = self.values[name]
            if name == "student_lr":
                lowered = value * torch.exp(delta.clamp(max=0) / value)
                lowered.clamp_(min=torch.finfo(value.dtype).tiny)  # exp of less than -100 is 0 in float32
                value.copy_(torch.where(delta < 0, lowered, value + delta))
            else:
                value.add_(delta)

    def freeze(self) -> SyntheticSet:
        """Return a detached copy as a synthetic set."""
        return SyntheticSet(**{name: value.detach().clone() for name, value in self.values.items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return values and momenta by name."""
        momenta = {f"velocity.{name}": velocity for name, velocity in self.velocities.items()}
        return {**self.values, **momenta}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over values and momenta.

        Raises:
            CorruptFileError: If a name is missing or unknown, or a shape differs.
        """
        own = self.tensors()
        shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
        given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes != given:
            raise CorruptFileError(f"the checkpoint holds {given}, this run needs {shapes}")
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
