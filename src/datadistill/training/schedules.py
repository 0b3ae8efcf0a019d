"""How an ordinary network is trained: epochs, step sizes, momentum."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GSAM:
    """Surrogate-gap guided sharpness-aware minimisation (Zhuang et al., ICLR 2022), in its adaptive form.

    With the gradient g of a batch at the weights w, and h its gradient at w + ρ w² g / ‖w g‖, the optimiser gets
    h − α g⊥, where g⊥ is the part of g that is orthogonal to h. Two gradients per step.

    Attributes:
        rho: ρ, how far the weights are disturbed; positive.
        alpha: α, not negative; with 0 it is adaptive SAM.
    """

    rho: float = 0.01
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not (self.rho > 0 and self.alpha >= 0):
            raise ValueError(f"rho must be positive, alpha not negative, got {self.rho} and {self.alpha}")


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (Kingma and Ba, ICLR 2015) instead of SGD; its β₁ is the momentum of the recipe.

    Attributes:
        decay: β₂, of the mean of squared gradients, in [0, 1).
        eps: ε, added to its root; positive.
    """

    decay: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not (0 <= self.decay < 1 and self.eps > 0):
            raise ValueError(f"decay must be in [0, 1), eps positive, got {self.decay} and {self.eps}")


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """SGD with momentum, or Adam, and a step-size schedule.

    Attributes:
        epochs: Passes over the set, at least 1.
        batch_size: Images per step; the last batch of an epoch may be smaller.
        lr: First step size, > 0.
        momentum: In [0, 1).
        weight_decay: Coefficient of ½‖θ‖², added to the gradient.
        schedule: ``constant``; ``step``: tenfold drop after ``decay_at``; ``cosine``: half a cosine to zero.
        decay_at: Fraction of ``epochs``; with ``step`` only.
        reset_momentum: Whether the momentum is forgotten when the step size drops; with ``step`` only.
        extra_epoch: Whether one epoch more is run, and the drop comes two epochs later, as in loops that
            count from 0 to ``epochs`` inclusive and drop after the epoch of index ``epochs // 2 + 1``.
        gsam: Makes the gradient sharpness-aware before the optimiser gets it; absent for the plain one.
        adam: Makes the optimiser Adam; absent for SGD.
    """

    epochs: int
    batch_size: int = 256
    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Literal["constant", "step", "cosine"] = "constant"
    decay_at: float = 0.5
    reset_momentum: bool = False
    extra_epoch: bool = False
    gsam: GSAM | None = None
    adam: Adam | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError("epochs and batch_size must be at least 1")
        if not (self.lr > 0 and 0 <= self.momentum < 1 and self.weight_decay >= 0):
            raise ValueError("lr must be positive, momentum in [0, 1), weight_decay not negative")
        if not 0 < self.decay_at <= 1:
            raise ValueError(f"decay_at must be in (0, 1], got {self.decay_at}")
        if self.schedule != "step" and (self.decay_at != 0.5 or self.reset_momentum):
            raise ValueError(f"decay_at and reset_momentum are for schedule 'step', and it is '{self.schedule}'")

    @property
    def epochs_run(self) -> int:
        """Epochs actually run."""
        return self.epochs + self.extra_epoch

    @property
    def drop_epoch(self) -> int | None:
        """First epoch (from 0) with the smaller step size; ``None`` without a drop."""
        if self.schedule != "step":
            return None
        return math.floor(self.epochs * self.decay_at) + (2 if self.extra_epoch else 0)

    def lr_at(self, epoch: int) -> float:
        """Return the step size in ``epoch``, counted from 0."""
        if self.schedule == "cosine":
            return 0.5 * self.lr * (1 + math.cos(math.pi * epoch / self.epochs_run))
        drop = self.drop_epoch
        return self.lr * (0.1 if drop is not None and epoch >= drop else 1.0)
