"""Protocols: how a network is trained on a small set before it is tested. All differences have names."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from scipy import stats

from datadistill.core.registry import find
from datadistill.evaluate.attack import Attack, Poisoning
from datadistill.training.schedules import Adam, TrainingRecipe


@dataclass(frozen=True)
class Baseline:
    """What there is to know of a baseline.

    Attributes:
        summary: In words.
        drawn: Whether several draws of it differ.
        trained: Whether networks are trained on it.
    """

    summary: str
    drawn: bool = False
    trained: bool = True


BASELINES: dict[str, Baseline] = {
    "untrained": Baseline("before the first step", trained=False),
    "random": Baseline("random real", drawn=True),
    "random-labelled": Baseline("random real, labelled by the teachers", drawn=True),
    "optimised": Baseline("best random real", drawn=True),
    "average": Baseline("average of each class"),
    "kmeans": Baseline("k-means centres", drawn=True),
    "knn": Baseline("nearest neighbours among the distilled", trained=False),
    "knn-random": Baseline("nearest neighbours among random real", drawn=True, trained=False),
    "knn-average": Baseline("nearest average of a class", trained=False),
    "knn-kmeans": Baseline("nearest neighbours among k-means centres", drawn=True, trained=False),
}
"""What a distilled set may be compared with: sets of the same size, and what none is trained on."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to train fresh networks on a synthetic set and to test them.

    Attributes:
        networks: Fresh networks per set; each has initial weights and draws of its own.
        network: Name of the evaluation network; absent means the one the set was distilled with.
        epochs: Passes over the set.
        batch_size: Images per step; smaller sets are one batch.
        ordered: Whether networks are trained through the set's own order of rows, with its step size for each step,
            instead of in shuffled epochs; ``epochs`` are then repetitions of all its steps, and ``batch_size`` has no
            effect. For ``as-distilled``.
        ordered_networks: Networks under ``as-distilled``, whose few steps are cheap; absent for ``networks``.
        ordered_repeats: Epochs under ``as-distilled``: how often networks go through the steps of the set.
        start: How networks start: ``random``; ``fixed``: the networks a set was distilled for, all of them;
            ``teachers``: ones trained on real data like those it was distilled for, but others; ``known-teachers``:
            these very ones. Absent: as the set was distilled for where ``ordered``, else ``random``.
        optimiser: ``sgd`` or ``adam``.
        lr: Step size; absent means the learned one, the mean of several, or ``fallback_lr`` where none was learned.
            Those that are learned are SGD's: Adam has 0.001 instead.
        fallback_lr: Used for sets without a learned step size, where ``lr`` is absent.
        momentum: Of SGD, in [0, 1); β₁ of Adam.
        weight_decay: Coefficient of ½‖θ‖².
        schedule: ``step``: the step size drops tenfold after ``decay_at``; ``constant``; ``cosine``.
        decay_at: Fraction of the epochs after which it drops; with ``step`` only.
        reset_momentum: Whether the momentum is forgotten at that point; with ``step`` only.
        extra_epoch: Whether one epoch more is run, as loops that count from 0 to E inclusive do.
        augment: Augmentation of the training images; absent means the one the set was distilled with.
        split: Which real images the networks are tested on.
        baselines: What the sets are compared with, see :data:`BASELINES`.
        random_draws: Independent draws of baselines that are drawn; 0 for none of these.
        baseline_lrs: Step sizes tried for every baseline that is trained on, besides that of the distilled set; the
            best on validation images, or on training images where none are held out, is the one it is judged with.
        candidates: Random draws that ``optimised`` chooses from in the same way, at least ``random_draws``.
        choosing_networks: Networks that such a choice is made with.
        neighbours: k of the nearest-neighbour baselines.
        norm: p of their distance ‖a − b‖ₚ.
        peak: Whether every kept variant is judged on the tested images and the best of them reported: selection on
            the test set, as most published numbers are.
        save_networks: Whether the networks trained on distilled sets are kept beside the record.
    """

    networks: int = 5
    network: str | None = None
    epochs: int = 1000
    batch_size: int = 256
    ordered: bool = False
    ordered_networks: int | None = None
    ordered_repeats: int = 1
    start: Literal["random", "fixed", "teachers", "known-teachers"] | None = None
    optimiser: Literal["sgd", "adam"] = "sgd"
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
    baselines: tuple[str, ...] = ("random",)
    random_draws: int = 5
    baseline_lrs: tuple[float, ...] = ()
    candidates: int = 25
    choosing_networks: int = 5
    neighbours: int = 1
    norm: float = 2.0
    peak: bool = False
    save_networks: bool = False

    def __post_init__(self) -> None:
        for baseline in self.baselines:
            find(BASELINES, baseline, "baseline")
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError("baselines must name none of them twice")
        least = min(self.choosing_networks, self.neighbours, self.ordered_repeats)
        if least < 1 or (self.ordered_networks is not None and self.ordered_networks < 1):
            raise ValueError(
                "choosing_networks, neighbours, ordered_networks and ordered_repeats must be at least 1, got "
                f"{self.choosing_networks}, {self.neighbours}, {self.ordered_networks} and {self.ordered_repeats}"
            )
        if "optimised" in self.baselines and self.candidates < self.random_draws:
            raise ValueError(f"candidates must be at least random_draws, got {self.candidates}, {self.random_draws}")
        if not self.norm > 0:
            raise ValueError(f"norm must be positive, got {self.norm}")
        if self.networks < 1 or self.epochs < 1 or self.batch_size < 1 or self.random_draws < 0:
            raise ValueError("networks, epochs and batch_size must be at least 1, random_draws at least 0")
        if self.peak and self.split != "test":
            raise ValueError(f"peak chooses on the test set, and split is '{self.split}'")
        if self.lr is not None and self.fallback_lr != 0.01:
            raise ValueError(f"fallback_lr is for sets without a learned step size, and lr is {self.lr} for all")
        for lr in (self.fallback_lr, self.lr, *self.baseline_lrs):
            if lr is not None:
                self.training(lr)  # refuses what is out of range now, not after hours of distillation

    @property
    def compared(self) -> tuple[str, ...]:
        """The baselines there will be: without draws, only those that need none; in order, the networks untrained."""
        named = dict.fromkeys((*(("untrained",) if self.ordered else ()), *self.baselines))
        return tuple(name for name in named if self.random_draws or not BASELINES[name].drawn)

    def baseline_trainings(self, ipc: int) -> int:
        """Return how many networks are trained for all baselines with ``ipc`` images per class, for choices as well."""
        total = 0
        for name in self.compared:
            draws = self.random_draws if BASELINES[name].drawn and (name, ipc) != ("kmeans", 1) else 1
            if BASELINES[name].trained:
                total += draws * (self.networks + _choices(self))
            total += self.networks if name == "untrained" else 0
            total += self.candidates * self.choosing_networks if name == "optimised" else 0
        return total

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
            adam=Adam() if self.optimiser == "adam" else None,
        )


def _choices(protocol: Protocol) -> int:
    """Return how many networks choose a step size on one draw of a baseline."""
    return (1 + len(protocol.baseline_lrs)) * protocol.choosing_networks if protocol.baseline_lrs else 0


_UPSTREAM: dict[str, Any] = {
    "start": None,
    "optimiser": "sgd",
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
    "as-distilled": {
        "ordered": True,
        "optimiser": "sgd",
        "lr": None,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "schedule": "constant",
        "decay_at": 0.5,
        "reset_momentum": False,
        "extra_epoch": False,
        "augment": None,
    },
    "upstream-peak": {**_UPSTREAM, "split": "test", "peak": True, "random_draws": 0},
}
"""Named protocols: the fields of a recipe's ``[evaluate]`` that each replaces."""


def named(name: str, base: Protocol) -> Protocol:
    """Return the protocol called ``name``: ``base`` with what that name changes.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    protocol = replace(base, **find(PROTOCOLS, name, "protocol"))
    if name == "as-distilled":
        return replace(protocol, networks=base.ordered_networks or base.networks, epochs=base.ordered_repeats)
    return protocol


@dataclass(frozen=True, kw_only=True)
class Result:
    """Accuracies of networks trained on one kind of set.

    Attributes:
        subject: ``synthetic`` (last iterate), ``averaged`` (over iterations), ``selected`` (best on validation),
            one of :data:`BASELINES`, ``full`` or ``peak`` (best on the test set).
        description: In words, for a person.
        images: Images trained on.
        accuracies: ``[draws][networks]``, fractions in [0, 1].
        lr: Step size used, the mean of several; 0 where nothing was trained.
        mean: Over all networks.
        std: Sample standard deviation over all networks; 0 with one.
        interval: 95 % confidence interval of the mean by Student's t, over the draws where there are
            several, else over the networks, cut off at 0 and 1; equal to the mean where there is only one of either.
        seconds: Time spent training and testing.
        poisoning: What an attack did; absent without one.
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
    poisoning: Poisoning | None = None

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
        half = half_width(units)
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


def _std(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def half_width(values: Sequence[float]) -> float:
    """Return half the width of the 95 % confidence interval of the mean by Student's t; 0 with one value."""
    if len(values) < 2:
        return 0.0
    return float(stats.t.ppf(0.975, len(values) - 1)) * _std(values) / math.sqrt(len(values))


def fair_baseline(results: Mapping[str, Result]) -> Result | None:
    """Return what the distilled set has to beat: random real images, with labels of the same kind where there are."""
    return results.get("random-labelled") or results.get("random")


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
    return sum(differences) / len(differences), half_width(differences)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything one protocol found out about one run: ``evaluate/<name>.json``.

    Attributes:
        name: Name of the protocol.
        protocol: Its settings.
        dataset: Real data set tested on.
        network: Evaluation network.
        split: Which real images the networks were tested on, and how many.
        start: How the networks started, in words; absent for at random.
        attack: What the set was distilled to do to networks; absent for an honest one.
        results: By subject.
        candidates: Under a protocol with ``peak``: iteration and mean accuracy of every set the best was chosen from.
        variant_candidates: The same of other sets that were kept of these iterations, by name: ``averaged``.
    """

    schema_version: ClassVar[int] = 4  # 1 had no candidates, 2 no variants among them, 3 no orders and other baselines
    name: str
    protocol: Protocol
    dataset: str
    network: str
    split: str
    start: str | None = None
    attack: Attack | None = None
    results: dict[str, Result] = field(default_factory=dict)
    candidates: tuple[tuple[int, float], ...] = ()
    variant_candidates: dict[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
