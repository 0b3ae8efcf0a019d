"""A set with an order of its own, step by step: the images of every batch, and the step sizes learned for them."""

from dataclasses import dataclass

from datadistill.evaluate.protocol import Evaluation
from datadistill.report import wording
from datadistill.report.collect import RunSummary
from datadistill.report.tiles import BUDGET, ENLARGED, displayed, png_uri
from datadistill.synthetic.artifact import visits
from datadistill.synthetic.pictures import MOST_BATCHES

_MOST_RATES = 6


@dataclass(frozen=True)
class StepRow:
    """One batch.

    Attributes:
        when: The steps it is used in, counted from 1.
        rates: The step size of each; empty where none was learned.
        uris: Its images, sorted as the batch is.
    """

    when: str
    rates: tuple[str, ...]
    uris: tuple[str, ...]


@dataclass(frozen=True)
class StepByStep:
    """How the networks go through a set.

    Attributes:
        rows: A batch each.
        across: Images side by side.
        classes: Headings of the columns; empty where there are too many to be read.
        accuracy: Before the first step and after the last, in a sentence; empty as long as it is not known.
        pixelated: Whether pixels should stay visible.
        note: What was left out; empty for nothing.
    """

    rows: tuple[StepRow, ...]
    across: int
    classes: tuple[str, ...]
    accuracy: str
    pixelated: bool
    note: str


def step_by_step(summary: RunSummary) -> StepByStep | None:
    """Return the steps of the last iterate; none where it has no order."""
    artifact = summary.artifact
    batches = visits(artifact.synthetic) if artifact is not None else ()
    if artifact is None or not batches:
        return None
    card, tiles, size = artifact.card, displayed(artifact), len(batches[0].rows)
    affordable = max(1, BUDGET // max(1, tiles[0].nbytes * size))
    shown = batches[: min(MOST_BATCHES, affordable)]
    rows = tuple(
        StepRow(
            ("Step " if len(batch.steps) == 1 else "Steps ") + _some([f"{step + 1:,}" for step in batch.steps]),
            tuple(f"{rate:.3g}" for rate in batch.rates[:_MOST_RATES]),
            tuple(png_uri(tiles[row]) for row in batch.rows),
        )
        for batch in shown
    )
    one_each = size == len(card.classes) and size <= 12
    left_out = f"Shown are the first {len(shown):,} of {len(batches):,} batches." if len(shown) < len(batches) else ""
    return StepByStep(
        rows=rows,
        across=min(size, 20),
        classes=card.classes if one_each else (),
        accuracy=next((text for one in summary.evaluations if (text := _accuracy(one))), ""),
        pixelated=max(card.image_shape[1:]) <= ENLARGED,
        note=left_out,
    )


def _some(words: list[str]) -> str:
    return ", ".join(words[:_MOST_RATES]) + (", …" if len(words) > _MOST_RATES else "")


def _accuracy(evaluation: Evaluation) -> str:
    """Return what the steps did to networks under a protocol that takes them, in a sentence."""
    before, after = (evaluation.results.get(name) for name in ("untrained", "synthetic"))
    if not evaluation.protocol.ordered or before is None or after is None:
        return ""
    networks = wording.plural(len(after.accuracies[0]), "network")
    return (
        f"Accuracy before the first step {wording.percent(before.mean)}, after the last {wording.accuracy(after)} "
        f"({networks}, protocol {evaluation.name})."
    )
