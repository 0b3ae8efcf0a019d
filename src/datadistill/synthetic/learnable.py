"""The synthetic set while it is being learned: images, targets, step size, and how each is updated."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from datadistill.core.arrays import Images, Targets
from datadistill.core.errors import CorruptFileError
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.rules import Rule

_NORM_DECAY = 0.9  # of the moving average of norms


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Rules of the outer optimisation, one per tensor; ``None`` means that it is not learned.

    A number stands for SGD with that step size and ``momentum``.

    Attributes:
        images: For the pixels, in network space.
        targets: For the targets.
        label_logits: For their logits, where those are learned.
        student_lr: For the student's step size.
        raw_student_lr: For what a softplus makes step sizes of, where that is learned.
        momentum: Of those that are numbers, in [0, 1).
    """

    images: float | Rule
    targets: float | Rule | None = None
    label_logits: float | Rule | None = None
    student_lr: float | Rule | None = None
    raw_student_lr: float | Rule | None = None
    momentum: float = 0.5

    def of(self, name: str) -> Rule | None:
        """Return the rule of the tensor called ``name``."""
        rule: float | Rule | None = getattr(self, name)
        return Rule(lr=float(rule), momentum=self.momentum) if isinstance(rule, int | float) else rule


class LearnableSet:
    """Images, targets and step size with what the optimiser of each remembers.

    The student's step size stays positive: an update δ that would lower α multiplies it by exp(δ/α)
    instead, which equals α + δ to first order; one that raises it is added as it is.
    """

    label_tensor: ClassVar[str] = "targets"
    lr_tensor: ClassVar[str] = "student_lr"

    def __init__(self, images: Images, targets: Targets, rates: Rates, student_lr: Tensor | None = None) -> None:
        self.rates = rates
        self.values: dict[str, Tensor] = {"images": images.clone(), self.label_tensor: targets.clone()}
        if student_lr is not None:
            self.values[self.lr_tensor] = student_lr.to(images).clone()
        rules = {name: rates.of(name) for name in self.values}
        self.rules = {name: rule for name, rule in rules.items() if rule is not None}
        self.velocities = {name: torch.zeros_like(self.values[name]) for name in self.rules}
        adaptive = [name for name, rule in self.rules.items() if rule.optimiser == "adam"]
        self.squares = {name: torch.zeros_like(self.values[name]) for name in adaptive}
        self.norms = {name: self.values[name].new_zeros(()) for name, rule in self.rules.items() if rule.clip}
        self.updates = torch.zeros((), dtype=torch.int64)  # on the CPU, where no device has to be waited for

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
        done = int(self.updates)
        for name, rule in self.rules.items():
            gradient = gradients[name] if rule.clip is None else self._clipped(name, rule.clip, gradients[name])
            delta = -rule.lr_at(done) * self._direction(name, rule, gradient, done + 1)
            value = self.values[name]
            if name == "student_lr":
                lowered = value * torch.exp(delta.clamp(max=0) / value)
                lowered.clamp_(min=torch.finfo(value.dtype).tiny)  # exp of less than -100 is 0 in float32
                value.copy_(torch.where(delta < 0, lowered, value + delta))
            else:
                value.add_(delta)
        self.updates += 1

    def _clipped(self, name: str, clip: float, gradient: Tensor) -> Tensor:
        """Return a gradient with a norm of at most ``clip`` times the average, which takes what is left of it in.

        The first one that is not 0 is left as it is.
        """
        norm: Tensor = torch.linalg.vector_norm(gradient)
        average = self.norms[name]
        begun = average > 0
        bounded = torch.where(begun, torch.minimum(norm, clip * average), norm)
        average.copy_(torch.where(begun, average.lerp(bounded, 1 - _NORM_DECAY), bounded))
        return gradient * (bounded / norm.clamp(min=torch.finfo(norm.dtype).tiny))

    def _direction(self, name: str, rule: Rule, gradient: Tensor, number: int) -> Tensor:
        """Return what update ``number``, from 1, multiplies with the step size; moments change in place."""
        velocity = self.velocities[name]
        if rule.optimiser == "sgd":
            return velocity.mul_(rule.momentum).add_(gradient)
        first, second = rule.betas
        velocity.lerp_(gradient, 1 - first)
        square = self.squares[name].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (square / (1 - second**number)).sqrt_().add_(rule.eps)
        return velocity / (1 - first**number) / root

    def freeze(self) -> SyntheticSet:
        """Return a detached copy as a synthetic set."""
        shown = {"images": self.images, "targets": self.targets}
        if self.lr_tensor in self.values:
            shown["student_lr"] = self.student_lr
        copies: dict[str, Any] = {name: value.detach().clone() for name, value in shown.items()}
        return SyntheticSet(**copies)

    def tensors(self) -> dict[str, Tensor]:
        """Return values, momenta, second moments and norms by name, and the number of updates where one asks for it."""
        momenta = {f"velocity.{name}": velocity for name, velocity in self.velocities.items()}
        momenta |= {f"square.{name}": square for name, square in self.squares.items()}
        momenta |= {f"norm.{name}": norm for name, norm in self.norms.items()}
        counted = any(rule.counts for rule in self.rules.values())
        return {**self.values, **momenta, **({"updates": self.updates} if counted else {})}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what :meth:`tensors` returned.

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
