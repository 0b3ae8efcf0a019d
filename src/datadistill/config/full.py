"""Networks trained on full real sets: the baseline, and teachers."""

from dataclasses import dataclass, field
from typing import Literal

from datadistill.training.schedules import TrainingRecipe


@dataclass(frozen=True, kw_only=True)
class FullTraining(TrainingRecipe):
    """:class:`TrainingRecipe` with defaults for the full set, so that one of them can be changed alone."""

    epochs: int = 30
    batch_size: int = 128
    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["constant", "step", "cosine"] = "cosine"


@dataclass(frozen=True, kw_only=True)
class FullConfig:
    """The baseline: ordinary training on the full real set, by a schedule of its own; computed once.

    Attributes:
        networks: Networks trained; 0 leaves the baseline out.
        augment: Augmentation; absent for the one of the run.
        training: The schedule.
        seed: Of the family.
    """

    networks: int = 1
    augment: str | None = None
    training: FullTraining = field(default_factory=FullTraining)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.networks < 0:
            raise ValueError(f"networks must not be negative, got {self.networks}")


@dataclass(frozen=True, kw_only=True)
class TeachersConfig:
    """Teachers: networks trained on the full real set that are asked what they see.

    With the settings of the full-set baseline they are the same networks, and trained once.

    Attributes:
        dataset: What they are trained on; absent for the data of the run.
        preprocess: In which space; absent for the choice of the run, fitted to their data. Images of the run are
            brought there by way of the pixels.
        networks: Architectures; empty for the one of the run.
        count: Teachers of each architecture, at least 1; more can be added later, none is trained twice.
        training: The schedule.
        augment: Augmentation; absent for the one of the run.
        seed: Of the families; independent of the run's, so that runs share teachers.
        snapshots: Epochs after which they are kept, ascending; empty for the last alone.
        at_epoch: Which of these is used; absent for the last.
    """

    dataset: str | None = None
    preprocess: str | None = None
    networks: tuple[str, ...] = ()
    count: int = 1
    training: FullTraining = field(default_factory=FullTraining)
    augment: str | None = None
    seed: int = 0
    snapshots: tuple[int, ...] = ()
    at_epoch: int | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")
        if len(set(self.networks)) < len(self.networks):
            raise ValueError("networks must name none of them twice")
        kept, last = self.snapshots, self.training.epochs_run
        if list(kept) != sorted(set(kept)) or (kept and not 0 <= kept[0] <= kept[-1] <= last):
            raise ValueError(f"snapshots must be ascending epochs in 0 to {last}, got {list(kept)}")
        if self.at_epoch is not None and self.at_epoch not in (kept or (last,)):
            raise ValueError(f"at_epoch must be one of snapshots, {list(kept or (last,))}, got {self.at_epoch}")
