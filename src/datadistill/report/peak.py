"""What was chosen on the test set, apart from everything that was not."""

from dataclasses import dataclass

from datadistill.evaluate.protocol import Evaluation
from datadistill.report import wording
from datadistill.report.accuracy import Chart, KeyNumber, chart
from datadistill.report.collect import RunSummary
from datadistill.report.curves import Curve, curves

CAVEAT = "Chosen on the test set, as most published numbers were: too high, and only to be compared with such numbers."


@dataclass(frozen=True)
class Peak:
    """The best of several test results, and what it was chosen from.

    Attributes:
        chart: The protocol, and its result without a choice.
        numbers: The best, and the last iterate beside it.
        curves: Accuracy on the test set against the iteration, one per kind of set; none where there was no choice.
    """

    chart: Chart
    numbers: tuple[KeyNumber, ...]
    curves: tuple[Curve, ...]


def peaks(summary: RunSummary) -> list[Peak]:
    """Return what each protocol that chooses on the test set has chosen."""
    return [_peak(evaluation) for evaluation in summary.evaluations if "peak" in evaluation.results]


def _peak(evaluation: Evaluation) -> Peak:
    shown = [
        evaluation.results[name]
        for name in ("peak", "synthetic", "averaged", "hard_labels")
        if name in evaluation.results
    ]
    numbers = (
        KeyNumber(wording.accuracy(one), wording.subject(one.subject), wording.capital(one.description))
        for one in shown
    )
    tested = {"": evaluation.candidates}
    tested |= {f"_{kind}": means for kind, means in evaluation.variant_candidates.items()}
    rows = [{"iteration": i, f"test_accuracy{kind}": mean} for kind, means in tested.items() for i, mean in means]
    return Peak(chart(evaluation), tuple(numbers), tuple(curves(rows)))
