"""The table ``[experts]``: how the networks are trained whose paths are matched."""

import re
from dataclasses import dataclass, fields
from typing import Literal

from datadistill.experts.imported import PREFIX
from datadistill.training.schedules import GSAM, TrainingRecipe


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig:
    """Experts: networks trained on the real set whose path is matched.

    Attributes:
        count: How many; more can be added later, none is trained twice.
        epochs: Epochs each is trained; absent for as many as the method needs.
        batch_size: Real images per step.
        lr: SGD step size.
        momentum: In [0, 1).
        weight_decay: Coefficient of ½‖θ‖².
        optimiser: ``sgd``, or ``gsam``: SGD on sharpness-aware gradients, at twice the time.
        rho: ρ of ``gsam``; absent for 0.01.
        gsam_alpha: α of ``gsam``; absent for 1.
        schedule: ``constant``; ``step``: the step size drops tenfold after ``decay_at``; ``cosine``.
        decay_at: Fraction of the epochs after which it drops; with ``step`` only, and then 0.5 where it is absent.
        reset_momentum: Whether the momentum is forgotten at that point; with ``step`` only.
        augment: Augmentation; absent for the one of the run.
        seed: Of the whole family; independent of the run's, so that runs share experts.
        imported: Key of experts trained elsewhere, as ``datadistill import`` printed it; of all else here only
            ``count`` can be set beside it.
    """

    count: int = 100
    epochs: int | None = None
    batch_size: int = 256
    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    optimiser: Literal["sgd", "gsam"] = "sgd"
    rho: float | None = None
    gsam_alpha: float | None = None
    schedule: Literal["constant", "step", "cosine"] = "constant"
    decay_at: float | None = None
    reset_momentum: bool = False
    augment: str | None = None
    seed: int = 0
    imported: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")
        if self.optimiser != "gsam" and (self.rho, self.gsam_alpha) != (None, None):
            raise ValueError(f"rho and gsam_alpha are for optimiser 'gsam', and it is '{self.optimiser}'")
        if self.imported is not None and not re.fullmatch(rf"{PREFIX}[0-9a-f]+", self.imported):
            raise ValueError(
                f"imported must be a key that `datadistill import` printed, {PREFIX}…, got '{self.imported}'"
            )
        if self.imported is not None and self.trained_only:
            removed = " ".join(f"--set experts.{key}=" for key in self.trained_only)
            raise ValueError(f"imported experts are not trained; take out what says how: {removed}")
        if self.schedule != "step" and self.decay_at is not None:
            raise ValueError(f"decay_at is for schedule 'step', and it is '{self.schedule}'")
        if self.schedule == "step" and self.decay_at is None:
            object.__setattr__(self, "decay_at", 0.5)
        self.training(1)

    @property
    def trained_only(self) -> tuple[str, ...]:
        """Names of what is set here and means nothing for imported experts."""
        others = (item for item in fields(self) if item.name not in {"count", "imported"})
        return tuple(item.name for item in others if getattr(self, item.name) != item.default)

    @property
    def gsam(self) -> GSAM | None:
        """What makes gradients sharpness-aware, where something does."""
        given = {name: value for name, value in (("rho", self.rho), ("alpha", self.gsam_alpha)) if value is not None}
        return GSAM(**given) if self.optimiser == "gsam" else None

    def training(self, epochs: int) -> TrainingRecipe:
        """Return how an expert is trained for so many epochs.

        Raises:
            ValueError: If a value is out of range.
        """
        return TrainingRecipe(
            epochs=epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            gsam=self.gsam,
            schedule=self.schedule,
            decay_at=0.5 if self.decay_at is None else self.decay_at,
            reset_momentum=self.reset_momentum,
        )
