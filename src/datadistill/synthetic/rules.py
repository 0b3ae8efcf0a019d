"""How one learned tensor follows its gradient: an optimiser, and a step size that may change over the run."""

import math
from dataclasses import dataclass
from typing import Literal

ScheduleName = Literal["constant", "cosine", "step"]


@dataclass(frozen=True)
class Cosine:
    """Half a cosine, from the full step size to nothing.

    Attributes:
        iterations: Length of the run, at least 1.
    """

    iterations: int

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")

    def __call__(self, done: int) -> float:
        """Return the part of the step size after ``done`` updates."""
        return 0.5 * (1 + math.cos(math.pi * min(done / self.iterations, 1)))


@dataclass(frozen=True)
class Drops:
    """A step size that is multiplied by ``factor`` at every milestone.

    Attributes:
        milestones: Updates after which it drops.
        factor: Positive.
    """

    milestones: tuple[int, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise ValueError(f"factor must be positive, got {self.factor}")

    def __call__(self, done: int) -> float:
        """Return the part of the step size after ``done`` updates."""
        return self.factor ** sum(done >= milestone for milestone in self.milestones)


Schedule = Cosine | Drops


def schedule(name: ScheduleName, iterations: int | None) -> Schedule | None:
    """Return a schedule by name: ``cosine``; ``step``: a tenth from half of the run on; ``constant``: none.

    Args:
        name: Of the schedule.
        iterations: Length of the run, where it is known.

    Raises:
        ValueError: If the schedule depends on the length of the run, and it is not known.
    """
    if name == "constant":
        return None
    if iterations is None:
        raise ValueError(f"a step size with schedule '{name}' needs to know how many iterations there are")
    return Cosine(iterations) if name == "cosine" else Drops((iterations // 2,))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How one learned tensor is updated.

    Attributes:
        lr: Step size, not negative.
        momentum: Of ``sgd``, in [0, 1).
        optimiser: ``sgd`` or ``adam``, as in torch.
        betas: Of ``adam``, each in [0, 1).
        eps: Of ``adam``, added to the root of the second moment.
        schedule: Changes the step size from update to update; absent for a constant one.
        clip: The multiple of the moving average of its norm that a gradient is cut to, positive; absent for never.
    """

    lr: float
    momentum: float = 0.0
    optimiser: Literal["sgd", "adam"] = "sgd"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    schedule: Schedule | None = None
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be positive, got {self.clip}")
        if not self.lr >= 0:
            raise ValueError(f"a step size must not be negative, got {self.lr}")
        if not all(0 <= weight < 1 for weight in (self.momentum, *self.betas)):
            raise ValueError(f"momentum and betas must be in [0, 1), got {self.momentum} and {self.betas}")
        if self.optimiser == "adam" and self.momentum:
            raise ValueError("momentum is for sgd; adam has betas")

    @property
    def counts(self) -> bool:
        """Whether an update depends on how many came before it."""
        return self.optimiser == "adam" or self.schedule is not None

    def lr_at(self, done: int) -> float:
        """Return the step size after ``done`` updates."""
        return self.lr * (1.0 if self.schedule is None else self.schedule(done))
