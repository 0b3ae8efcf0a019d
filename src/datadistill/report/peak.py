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
        curve: Accuracy on the test set against the iteration; none where there was no choice.
    """

    chart: Chart
    numbers: tuple[KeyNumber, ...]
    curve: Curve | None


def peaks(summary: RunSummary) -> list[Peak]:
    """Return what each protocol that chooses on the test set has chosen."""
    return [_peak(evaluation) for evaluation in summary.evaluations if "peak" in evaluation.results]


def _peak(evaluation: Evaluation) -> Peak:
    shown = [evaluation.results[name] for name in ("peak", "synthetic") if name in evaluation.results]
    numbers = (
        KeyNumber(wording.accuracy(one), wording.subject(one.subject), wording.capital(one.description))
        for one in shown
    )
    tested = curves([{"iteration": iteration, "test_accuracy": mean} for iteration, mean in evaluation.candidates])
    return Peak(chart(evaluation), tuple(numbers), tested[0] if tested else None)
