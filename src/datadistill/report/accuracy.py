"""Accuracies against the baselines: bars, tables, and the few numbers a run comes down to."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from datadistill.evaluate.attack import Poisoning
from datadistill.evaluate.pools import parted
from datadistill.evaluate.protocol import BASELINES, Evaluation, Protocol, Result, fair_baseline, gain
from datadistill.report import wording
from datadistill.report.collect import RunSummary

_ORDER = ("synthetic", "averaged", "hard_labels", "selected", *BASELINES, "full")
_NOTES = {"upstream": "Trains the way the published reference implementations do."}


class SummaryRow(NamedTuple):
    """One line of the table a run ends with, ready to print; ``SummaryRow._fields`` are its headings."""

    subject: str
    images: str
    accuracy: str
    lr: str
    seconds: str


@dataclass(frozen=True)
class Bar:
    """One accuracy as a bar; lengths are percentages of the full width.

    Attributes:
        label: What was trained on.
        detail: How many images.
        value: Accuracy in words.
        length: Of the bar.
        low: Where the interval begins.
        high: Where it ends.
        kind: ``last``, ``selected`` or ``baseline``.
    """

    label: str
    detail: str
    value: str
    length: float
    low: float
    high: float
    kind: str


@dataclass(frozen=True)
class AttackTable:
    """What a poisoned set has done to networks, as a table.

    Attributes:
        columns: Headings: what was trained on, then the three figures.
        rows: A subject each, in the order of the chart.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Chart:
    """What one protocol found out, as bars and as a table.

    Attributes:
        name: Of the protocol.
        note: How the protocol differs from ``default``; empty for not at all.
        setting: How the networks were trained, in a sentence.
        tested: What they were tested on.
        bars: Ordered as they are read: synthetic sets first, the full set last.
        ticks: Places and labels of the axis.
        rows: Cells of the table, in the order of :data:`COLUMNS`.
        attack: What a poisoned set has done; absent for an honest one.
    """

    name: str
    note: str
    setting: str
    tested: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[tuple[str, ...], ...]
    attack: AttackTable | None = None


@dataclass(frozen=True)
class Transfer:
    """What one protocol found out with several evaluation networks.

    Attributes:
        name: Of the protocol.
        columns: Headings: the network, then what was trained on.
        rows: A network each, the protocol's own first; an empty cell where nothing was found out.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class KeyNumber:
    """One number worth large type, what it is, and a line below."""

    value: str
    label: str
    note: str


COLUMNS = ("Trained on", "Images", "Networks", "Draws", "Mean", "95 % interval", "Step size", "Time")


def ordered(evaluation: Evaluation) -> list[Result]:
    """Return the results as they are read: last iterate, selected, random, full, anything else.

    ``peak`` is not among them: what was chosen on the test set stands apart (:mod:`datadistill.report.peak`).
    """
    rank = {name: place for place, name in enumerate(_ORDER)}
    results = [item for item in evaluation.results.items() if item[0] != "peak"]
    return [result for _, result in sorted(results, key=lambda item: (rank.get(item[0], len(rank)), item[0]))]


def summary_rows(evaluation: Evaluation) -> tuple[SummaryRow, ...]:
    """Return one printable row per result: subject, images, accuracy in percent ± interval, step size, time."""
    return tuple(
        SummaryRow(
            wording.subject(result.subject),
            wording.count(result.images),
            wording.accuracy(result),
            _step_size(result),
            wording.duration(result.seconds),
        )
        for result in ordered(evaluation)
    )


def chart(evaluation: Evaluation) -> Chart:
    """Return the bars and the table of one protocol."""
    results = ordered(evaluation)
    top = _axis_end(max((max(result.mean, result.interval[1]) for result in results), default=1.0))
    ticks = tuple((25.0 * i, f"{25 * i * top:.3g} %") for i in range(5))
    return Chart(
        name=evaluation.name,
        note=_NOTES.get(evaluation.name, ""),
        setting=_setting(evaluation),
        tested=f"Tested on {evaluation.dataset}, {evaluation.split}.",
        bars=tuple(_bar(result, top) for result in results),
        ticks=ticks,
        rows=tuple(_cells(result) for result in results),
        attack=attack_table(evaluation),
    )


def attack_table(evaluation: Evaluation) -> AttackTable | None:
    """Return what training on every set has done where the set was distilled to attack networks; else none."""
    if evaluation.attack is None:
        return None
    attacked, target = evaluation.attack.names
    columns = ("Trained on", f"'{attacked}' right", f"'{attacked}' taken for '{target}'", "Other classes right")
    rows = tuple(
        (wording.capital(result.description), *(wording.accuracy(figure) for figure in _figures(result.poisoning)))
        for result in ordered(evaluation)
        if result.poisoning is not None
    )
    return AttackTable(columns, rows)


def _figures(poisoning: Poisoning) -> Iterator[Result]:
    """Yield what an attack has done as results, with intervals: the attacked class, the success, the others."""
    for figures in (poisoning.attacked, poisoning.success, poisoning.others):
        yield Result.of("", "", 0, figures, 0.0, 0.0)


def transfers(evaluations: Sequence[Evaluation]) -> list[Transfer]:
    """Return a table for every protocol that was run with other networks than its own; those that peak have none."""
    found = []
    for protocol in dict.fromkeys(parted(one.name)[0] for one in evaluations if parted(one.name)[1]):
        those = [one for one in evaluations if parted(one.name)[0] == protocol and not one.protocol.peak]
        those.sort(key=lambda one: parted(one.name)[1] is not None)  # keeps their order otherwise
        subjects = [name for name in _ORDER if any(name in one.results for one in those)]
        rows = tuple(
            (one.network, *(wording.accuracy(one.results[name]) if name in one.results else "" for name in subjects))
            for one in those
        )
        if rows:
            headings = (wording.capital(wording.subject(name).removeprefix("Synthetic, ")) for name in subjects)
            found.append(Transfer(protocol, ("Network", *headings), rows))
    return found


def key_numbers(summary: RunSummary) -> list[KeyNumber]:
    """Return up to five numbers: images, accuracy, the two baselines, time."""
    numbers = [_images(summary)]
    evaluation = summary.headline
    main = wording.main_result(evaluation) if evaluation is not None else None
    if evaluation is not None and main is not None:
        numbers += _accuracies(evaluation, main)
    seconds = math.fsum(stage.seconds for stage in summary.stages.values())
    if seconds > 0:
        numbers.append(KeyNumber(wording.duration(seconds), "computing time", "all stages together"))
    return [number for number in numbers if number is not None]


def _images(summary: RunSummary) -> KeyNumber | None:
    if summary.artifact is None:
        return None
    images, ipc = len(summary.artifact.synthetic), summary.artifact.card.ipc
    full = summary.headline.results.get("full") if summary.headline is not None else None
    share = f" · {100 * images / full.images:.2g} % of the full set" if full and full.images else ""
    return KeyNumber(wording.count(images), "synthetic images", f"{ipc:,} per class{share}")


def _accuracies(evaluation: Evaluation, main: Result) -> list[KeyNumber]:
    half = 100 * wording.half_width(main)
    note = f"± {half:.1f}, 95 % interval" if half > 0 else "one network, no interval"
    numbers = [KeyNumber(wording.percent(main.mean), "accuracy on them", note)]
    random, full = fair_baseline(evaluation.results), evaluation.results.get("full")
    if evaluation.attack is not None and main.poisoning is not None:
        attacked, target = evaluation.attack.names
        _, success, others = main.poisoning.means()
        words = f"and {wording.percent(others)} of the other classes right"
        numbers.append(KeyNumber(wording.percent(success), f"of '{attacked}' taken for '{target}'", words))
    elif random is not None:
        points, half = gain(main, random) or (main.mean - random.mean, 0.0)
        spread = f" ± {100 * half:.1f}" if half > 0 else ""
        words = f"{100 * abs(points):.1f}{spread} points {'less' if points >= 0 else 'more'}, network by network"
        labelled = "with random images, labelled alike" if random.subject == "random-labelled" else "with random images"
        numbers.append(KeyNumber(wording.percent(random.mean), labelled, words))
    if full is not None:
        share = f"they reach {main.mean / full.mean:.0%} of it" if full.mean > 0 else ""
        numbers.append(KeyNumber(wording.percent(full.mean), "with the full set", share.replace("%", " %")))
    return numbers


def _axis_end(largest: float) -> float:
    return next(end for end in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, math.inf) if largest <= end or end == 1.0)


def _bar(result: Result, top: float) -> Bar:
    kind = {"synthetic": "last", "averaged": "selected", "hard_labels": "selected", "selected": "selected"}.get(
        result.subject, "baseline"
    )
    low, mean, high = (
        100 * min(1.0, max(0.0, value / top)) for value in (result.interval[0], result.mean, result.interval[1])
    )
    images = wording.plural(result.images, "image") if result.images else "no training"
    return Bar(wording.subject(result.subject), images, wording.accuracy(result), mean, low, high, kind)


def _cells(result: Result) -> tuple[str, ...]:
    low, high = (f"{100 * bound:.1f}" for bound in result.interval)
    return (
        wording.capital(result.description) or wording.subject(result.subject),
        wording.count(result.images),
        wording.count(len(result.accuracies[0]) if result.accuracies else 0),
        wording.count(len(result.accuracies)),
        wording.percent(result.mean),
        f"{low} to {high} %" if wording.half_width(result) > 0 else "none",
        _step_size(result),
        wording.duration(result.seconds),
    )


def _step_size(result: Result) -> str:
    return wording.quantity(result.lr) if result.lr else "none"


def _setting(evaluation: Evaluation) -> str:
    """Return how the networks were trained, in words; the full set is no small set and has its own schedule."""
    protocol: Protocol = evaluation.protocol
    learned = "step size of each set" if protocol.peak else "step size as in the table"
    lr = f"step size {wording.quantity(protocol.lr)}" if protocol.lr is not None else learned
    optimiser = {"sgd": "SGD", "adam": "Adam"}[protocol.optimiser]
    if protocol.ordered:
        repeated = f", {protocol.epochs} times" if protocol.epochs > 1 else ""
        course = f"the steps of the set in its order{repeated}, by {optimiser}, {lr}"
    else:
        epochs = wording.plural(protocol.epochs, "epoch") + (" and one more" if protocol.extra_epoch else "")
        course = f"{epochs} of {optimiser} in batches of {protocol.batch_size}, {lr}{_schedule(protocol)}"
    text = (
        f"{wording.network(evaluation.network)}{f', {evaluation.start}' if evaluation.start else ''}; {course}; "
        f"momentum {protocol.momentum:g}, weight decay {protocol.weight_decay:g}, "
        f"augmentation {protocol.augment or 'as in the distillation'}."
    )
    own = " The full training set is trained on by a schedule of its own."
    return text + (own if "full" in evaluation.results else "")


def _schedule(protocol: Protocol) -> str:
    if protocol.schedule == "cosine":
        return " on a cosine schedule"
    if protocol.schedule == "constant":
        return " throughout"
    momentum = " with the momentum reset there" if protocol.reset_momentum else ""
    return f", divided by ten after {100 * protocol.decay_at:.0f} % of the epochs{momentum}"
