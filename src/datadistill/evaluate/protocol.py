"""Protocols: how a network is trained on a small set before it is tested. All differences have names."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from scipy import stats

from datadistill.core.registry import find
from datadistill.training.schedules import TrainingRecipe


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to train fresh networks on a synthetic set and to test them.

    Attributes:
        networks: Fresh networks per set; each has initial weights and draws of its own.
        network: Name of the evaluation network; absent means the one the set was distilled with.
        epochs: Passes over the set.
        batch_size: Images per step; smaller sets are one batch.
        lr: Step size; absent means the learned one, or ``fallback_lr`` where none was learned.
        fallback_lr: Used for sets without a learned step size, where ``lr`` is absent.
        momentum: Of SGD, in [0, 1).
        weight_decay: Coefficient of ½‖θ‖².
        schedule: ``step``: the step size drops tenfold after ``decay_at``; ``constant``; ``cosine``.
        decay_at: Fraction of the epochs after which it drops; with ``step`` only.
        reset_momentum: Whether the momentum is forgotten at that point; with ``step`` only.
        extra_epoch: Whether one epoch more is run, as loops that count from 0 to E inclusive do.
        augment: Augmentation of the training images; absent means the one the set was distilled with.
        split: Which real images the networks are tested on.
        random_draws: Independent draws of random real images for the baseline.
        peak: Whether every kept variant is judged on the tested images and the best of them reported: selection on
            the test set, as most published numbers are.
    """

    networks: int = 5
    network: str | None = None
    epochs: int = 1000
    batch_size: int = 256
    lr: float | None = None
    fallback_lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["constant", "step", "cosine"] = "step"
    decay_at: float = 0.5
    reset_momentum: bool = False
    extra_epoch: bool = False
    augment: str | None = None
    split: Literal["test", "validation"] = "test"
    random_draws: int = 5
    peak: bool = False

    def __post_init__(self) -> None:
        if self.networks < 1 or self.epochs < 1 or self.batch_size < 1 or self.random_draws < 0:
            raise ValueError("networks, epochs and batch_size must be at least 1, random_draws at least 0")
        if self.peak and self.split != "test":
            raise ValueError(f"peak chooses on the test set, and split is '{self.split}'")
        if self.lr is not None and self.fallback_lr != 0.01:
            raise ValueError(f"fallback_lr is for sets without a learned step size, and lr is {self.lr} for all")
        for lr in (self.fallback_lr, self.lr):
            if lr is not None:
                self.training(lr)  # refuses what is out of range now, not after hours of distillation

    def training(self, lr: float) -> TrainingRecipe:
        """Return how networks are trained under this protocol with step size ``lr``."""
        return TrainingRecipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            decay_at=self.decay_at,
            reset_momentum=self.reset_momentum,
            extra_epoch=self.extra_epoch,
        )


_UPSTREAM: dict[str, Any] = {
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "step",
    "decay_at": 0.5,
    "reset_momentum": True,
    "extra_epoch": True,
    "augment": "dsa",
}
"""What the published codes have fixed; epochs, batch size, networks and step size are options there."""

PROTOCOLS: dict[str, dict[str, Any]] = {
    "default": {},
    "upstream": _UPSTREAM,
    "upstream-peak": {**_UPSTREAM, "split": "test", "peak": True, "random_draws": 0},
}
"""Named protocols: the fields of a recipe's ``[evaluate]`` that each replaces."""


def named(name: str, base: Protocol) -> Protocol:
    """Return the protocol called ``name``: ``base`` with what that name changes.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    return replace(base, **find(PROTOCOLS, name, "protocol"))


@dataclass(frozen=True, kw_only=True)
class Result:
    """Accuracies of networks trained on one kind of set.

    Attributes:
        subject: ``synthetic`` (last iterate), ``averaged`` (over iterations), ``selected`` (best on validation),
            ``random``, ``full`` or ``peak`` (best on the test set).
        description: In words, for a person.
        images: Images trained on.
        accuracies: ``[draws][networks]``, fractions in [0, 1].
        lr: Step size used.
        mean: Over all networks.
        std: Sample standard deviation over all networks; 0 with one.
        interval: 95 % confidence interval of the mean by Student's t, over the draws where there are
            several, else over the networks, cut off at 0 and 1; equal to the mean where there is only one of either.
        seconds: Time spent training and testing.
    """

    subject: str
    description: str
    images: int
    accuracies: tuple[tuple[float, ...], ...]
    lr: float
    mean: float
    std: float
    interval: tuple[float, float]
    seconds: float

    @classmethod
    def of(
        cls,
        subject: str,
        description: str,
        images: int,
        accuracies: tuple[tuple[float, ...], ...],
        lr: float,
        seconds: float,
    ) -> "Result":
        """Return a result with mean, standard deviation and interval worked out."""
        every = [accuracy for draw in accuracies for accuracy in draw]
        units = [sum(draw) / len(draw) for draw in accuracies] if len(accuracies) > 1 else every
        mean = sum(every) / len(every)
        half = _half_width(units)
        return cls(
            subject=subject,
            description=description,
            images=images,
            accuracies=accuracies,
            lr=lr,
            mean=mean,
            std=_std(every),
            interval=(max(0.0, mean - half), min(1.0, mean + half)),
            seconds=seconds,
        )


def _std(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _half_width(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    return float(stats.t.ppf(0.975, len(values) - 1)) * _std(values) / math.sqrt(len(values))


def gain(result: Result, baseline: Result) -> tuple[float, float] | None:
    """Return by how much ``result`` is above ``baseline``, and half the 95 % interval of that; nothing if not paired.

    Network by network, over all draws: network ``j`` starts from the same weights on every set, so that the luck of its
    start cancels. The interval is by Student's t over the networks; it is 0 with one. It holds for these draws: how
    much other draws would differ is in the interval of the baseline.
    """
    mine, other = (
        [sum(scores) / len(scores) for scores in zip(*one.accuracies, strict=True)] for one in (result, baseline)
    )
    if len(mine) != len(other):
        return None
    differences = [here - there for here, there in zip(mine, other, strict=True)]
    return sum(differences) / len(differences), _half_width(differences)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything one protocol found out about one run: ``evaluate/<name>.json``.

    Attributes:
        name: Name of the protocol.
        protocol: Its settings.
        dataset: Real data set tested on.
        network: Evaluation network.
        split: Which real images the networks were tested on, and how many.
        results: By subject.
        candidates: Under a protocol with ``peak``: iteration and mean accuracy of every set the best was chosen from.
        variant_candidates: The same of other sets that were kept of these iterations, by name: ``averaged``.
    """

    schema_version: ClassVar[int] = 3  # 1 had no candidates and no peak, 2 no variants among them
    name: str
    protocol: Protocol
    dataset: str
    network: str
    split: str
    results: dict[str, Result] = field(default_factory=dict)
    candidates: tuple[tuple[int, float], ...] = ()
    variant_candidates: dict[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
