"""Numbers in words: summary rows, bars, the sentence."""

import dataclasses
from pathlib import Path

import pytest

from datadistill.evaluate.protocol import Evaluation, Protocol, Result
from datadistill.report import RunSummary, collect, summary_rows, wording
from datadistill.report.accuracy import chart, key_numbers
from datadistill.report.peak import peaks
from report.fake_run import evaluation_of, write_run


def test_summary_rows_are_in_reading_order_and_in_percent() -> None:
    rows = summary_rows(evaluation_of("default", 1, 10))
    assert [row.subject for row in rows] == [
        "Synthetic, last iterate",
        "Synthetic, selected",
        "Random real images",
        "Full training set",
    ]
    assert rows[0].accuracy == "83.2 ± 0.8 %"
    assert rows[3].images == "1,257"
    assert rows[0].lr == "0.0213" and rows[0].seconds == "12.5 s"


def test_one_network_has_no_interval() -> None:
    single = Result.of("synthetic", "", 10, ((0.8314,),), 0.01, 1.0)
    assert wording.accuracy(single) == "83.1 %"
    drawn = chart(_with(single))
    assert drawn.bars[0].low == drawn.bars[0].high == pytest.approx(83.14)
    assert "none" in drawn.rows[0]
    assert "step size 0.1 throughout" in drawn.setting and "of its own" not in drawn.setting


def test_bars_scale_to_small_accuracies_and_stay_inside() -> None:
    drawn = chart(_with(Result.of("synthetic", "", 100, ((0.05, 0.0),), 0.01, 1.0)))
    assert drawn.ticks[-1][1] in {"10 %", "20 %", "40 %", "60 %", "80 %", "100 %"}
    assert all(0 <= length <= 100 for bar in drawn.bars for length in (bar.low, bar.length, bar.high))


def test_an_unknown_subject_is_shown_last_under_its_name() -> None:
    evaluation = evaluation_of("default", 1, 10)
    other = Result.of("herding_set", "", 10, ((0.5,),), 0.01, 1.0)
    more = dataclasses.replace(evaluation, results={"herding_set": other, **evaluation.results})
    assert summary_rows(more)[-1].subject == "herding set"


def test_the_setting_does_not_claim_the_full_set() -> None:
    setting = chart(evaluation_of("upstream", 1, 10)).setting
    assert "1,000 epochs and one more" in setting and "after 50 % of the epochs with the momentum reset" in setting
    assert setting.endswith("The full training set is trained on by a schedule of its own.")


def test_sentence_of_an_evaluated_run(tmp_path: Path) -> None:
    summary = collect(write_run(tmp_path / "tiny"))
    assert wording.sentence(summary) == (
        "10 synthetic images on which a ConvNet-3 reaches 83.2 % on digits; random real images give 61.2 %, "
        "the full 1,257 training images 98.1 %."
    )
    assert [number.value for number in key_numbers(summary)] == ["10", "83.2 %", "61.2 %", "98.1 %", "8 min 31 s"]


def test_sentence_names_a_protocol_that_is_not_the_default(tmp_path: Path) -> None:
    summary = collect(write_run(tmp_path / "tiny", protocols=("upstream-peak",)))
    assert wording.sentence(summary) == (
        "10 synthetic images on which a ConvNet-3 reaches 83.2 % on digits (protocol upstream-peak)."
    )


def test_what_was_chosen_on_the_test_set_is_in_no_table_with_what_was_not(tmp_path: Path) -> None:
    evaluation = evaluation_of("upstream-peak", 1, 10)
    assert [row.subject for row in summary_rows(evaluation)] == ["Synthetic, last iterate"]
    drawn = chart(evaluation)
    assert len(drawn.bars) == len(drawn.rows) == 1 and "as in the table" not in drawn.setting
    summary = collect(write_run(tmp_path / "tiny", protocols=("upstream-peak", "upstream")))
    assert summary.headline is not None and summary.headline.name == "upstream"
    (found,) = peaks(summary)
    assert [(number.label, number.value) for number in found.numbers] == [
        ("Synthetic, best on the test set", "85.2 ± 0.8 %"),
        ("Synthetic, last iterate", "83.2 ± 0.8 %"),
    ]
    assert found.numbers[0].note == "Distilled, best of 3 on the test set (iteration 400)"
    (curve,) = found.curves
    assert len(curve.marks) == 3
    assert curve.title == "Accuracy of the kept sets on the test set (%)"


def test_a_choice_from_one_has_no_curve() -> None:
    alone = dataclasses.replace(evaluation_of("upstream-peak", 1, 10), candidates=((500, 0.83),))
    (found,) = peaks(RunSummary(name="tiny", root=Path("tiny"), evaluations=(alone,)))
    assert found.curves == ()


def test_averaged_sets_that_were_chosen_from_have_a_curve_of_their_own() -> None:
    both = dataclasses.replace(
        evaluation_of("upstream-peak", 1, 10), variant_candidates={"averaged": ((100, 0.7), (400, 0.8), (500, 0.9))}
    )
    (found,) = peaks(RunSummary(name="tiny", root=Path("tiny"), evaluations=(both,)))
    assert [curve.title for curve in found.curves] == [
        "Accuracy of the kept sets on the test set (%)",
        "Accuracy of the averaged sets on the test set (%)",
    ]


def test_sentence_before_the_evaluation(tmp_path: Path) -> None:
    done = write_run(tmp_path / "done", protocols=())
    assert wording.sentence(collect(done)) == (
        "10 synthetic images distilled from digits with mtt in 500 iterations; not evaluated yet."
    )
    (done.synthetic / "card.json").unlink()
    assert "has reached iteration 500" in wording.sentence(collect(done))
    assert "set up" in wording.sentence(collect(write_run(tmp_path / "fresh", only_config=True)))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4.21, "4.2 s"), (59.99, "1 min 00 s"), (192.0, "3 min 12 s"), (3599.8, "1 h 00 min"), (7500.0, "2 h 05 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0.0213, "0.0213"), (12400.0, "12,400"), (3.2e-7, "3.20e-07"), (0.0, "0"), (float("nan"), "not finite")],
)
def test_quantities(number: float, words: str) -> None:
    assert wording.quantity(number) == words


def test_network_names_and_articles() -> None:
    assert wording.network("convnet-3-batchnorm") == "ConvNet-3-batchnorm"
    assert [wording._article(name) for name in ("ConvNet-3", "MLP", "AlexNet", "ResNet-18", "VGG")] == [
        "a",
        "an",
        "an",
        "a",
        "a",
    ]


def _with(result: Result) -> Evaluation:
    return Evaluation(
        name="default",
        protocol=Protocol(lr=0.1, schedule="constant"),
        dataset="digits",
        network="mlp",
        split="360 test images",
        results={result.subject: result},
    )
