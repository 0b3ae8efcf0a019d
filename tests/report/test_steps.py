"""A set with an order of its own: its batches, their pictures, and what the steps do to networks."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from datadistill.evaluate.attack import Attack, Poisoning
from datadistill.evaluate.protocol import Evaluation, Protocol, Result, named
from datadistill.report.accuracy import attack_table, chart, key_numbers
from datadistill.report.collect import collect
from datadistill.report.page import render
from datadistill.report.steps import step_by_step
from datadistill.report.wording import sentence
from datadistill.runtime.records import save_record
from datadistill.synthetic.artifact import SyntheticSet, Visit, save_artifact, visits
from datadistill.synthetic.pictures import step_label, step_rows
from report.fake_run import artifact_of, write_run

DIGITS = tuple("0123456789")
ORDER = torch.arange(20).view(10, 2).T.repeat(3, 1)
RATES = torch.tensor([0.021, 0.018, 0.015, 0.0125, 0.011, 0.009])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "steps"
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    run = write_run(folder, images, 2)
    artifact = artifact_of(images, 2, DIGITS)
    save_artifact(
        run.synthetic, replace(artifact, synthetic=replace(artifact.synthetic, order=ORDER, student_lr=RATES))
    )
    save_record(run.evaluation("as-distilled"), poisoned())
    return run


def poisoned():
    def result(subject, images, lr, mean, *figures):
        scores = ((mean - 0.01, mean + 0.01),)
        poisoning = Poisoning(**{n: ((f, f),) for n, f in zip(("attacked", "success", "others"), figures, strict=True)})
        return replace(Result.of(subject, f"{subject} set", images, scores, lr, 1.0), poisoning=poisoning)

    return Evaluation(
        name="as-distilled",
        protocol=named("as-distilled", Protocol()),
        dataset="digits",
        network="lenet",
        split="test, 360 images",
        start="trained on digits beforehand, kept from it",
        attack=Attack(0, 1, ("zero", "one")),
        results={
            "random": result("random", 20, 0.0144, 0.95, 0.9, 0.05, 0.96),
            "untrained": result("untrained", 0, 0.0, 0.98, 0.99, 0.0, 0.98),
            "synthetic": result("synthetic", 20, 0.0144, 0.87, 0.1, 0.85, 0.955),
        },
    )


class TestVisits:
    def test_are_the_batches_with_the_step_sizes_of_every_use(self):
        synthetic = SyntheticSet(torch.zeros(20, 1, 8, 8), torch.eye(10).repeat_interleave(2, 0), RATES, ORDER)
        first, second = visits(synthetic)
        assert first == Visit(tuple(range(0, 20, 2)), (0, 2, 4), tuple(RATES[::2].tolist()))
        assert (second.rows, second.steps) == (tuple(range(1, 20, 2)), (1, 3, 5))

    @pytest.mark.parametrize(("rates", "expected"), [(None, ()), (RATES[:1], (0.021,) * 3)])
    def test_one_step_size_is_that_of_all_steps(self, rates, expected):
        synthetic = SyntheticSet(torch.zeros(20, 1, 8, 8), torch.eye(10).repeat_interleave(2, 0), rates, ORDER)
        assert visits(synthetic)[0].rates == pytest.approx(expected)
        assert visits(replace(synthetic, order=None)) == ()


def test_the_picture_has_a_row_and_a_line_for_every_batch(run):
    with Image.open(run.synthetic / "steps.png") as picture:
        high, wide = picture.height, picture.width
    one = step_rows([torch.zeros(10, 1, 8, 8)], [step_label((0, 2, 4), (0.021, 0.015, 0.011))])
    assert (wide, high) == (one.width, 2 * one.height)
    assert step_label((0, 2, 4), (0.021, 0.015, 0.011)) == "steps 1, 3, 5: 0.021, 0.015, 0.011"
    assert step_label(range(8), ()) == "steps 1, 2, 3, 4, 5, 6, …"
    assert step_label((4,), (0.5,)) == "step 5: 0.5"
    assert step_rows([torch.zeros(1, 1, 8, 8)], ["step 1 and a long line of text"]).width > 100


def test_the_page_shows_the_steps_and_what_they_do(run):
    summary = collect(run)
    found = step_by_step(summary)
    assert [row.when for row in found.rows] == ["Steps 1, 3, 5", "Steps 2, 4, 6"]
    assert found.rows[1].rates == ("0.018", "0.0125", "0.009")
    assert (len(found.rows[0].uris), found.across, found.classes, found.note) == (10, 10, DIGITS, "")
    assert found.accuracy.startswith("Accuracy before the first step 98.0 %, after the last 87.0")
    page = render(summary)
    assert "Step by step" in page
    assert "taken for" in page
    assert "kept from it; the steps of the set in its order" in page
    assert step_by_step(replace(summary, artifact=None)) is None


def test_a_set_without_an_order_has_no_steps(tmp_path):
    run = write_run(tmp_path / "run")
    assert not (run.synthetic / "steps.png").exists()
    assert step_by_step(collect(run)) is None


class TestAttack:
    def test_is_a_table_of_means(self):
        table = attack_table(poisoned())
        assert table.columns == ("Trained on", "'zero' right", "'zero' taken for 'one'", "Other classes right")
        assert table.rows[0] == ("Synthetic set", "10.0 %", "85.0 %", "95.5 %")
        assert [row[0] for row in table.rows] == ["Synthetic set", "Untrained set", "Random set"]
        assert attack_table(replace(poisoned(), attack=None)) is None

    def test_what_was_not_trained_has_no_step_size(self):
        rows = {row[0]: row for row in chart(poisoned()).rows}
        assert rows["Untrained set"][6] == "none"
        assert rows["Synthetic set"][6] == "0.0144"


def test_the_first_protocol_of_the_recipe_is_quoted(run):
    assert collect(run).headline.name == "default"
    text = run.config.read_text()
    try:
        run.config.write_text('protocols = ["as-distilled", "default"]\n' + text)
        summary = collect(run)
        assert [one.name for one in summary.evaluations] == ["as-distilled", "default"]
        assert "20 synthetic images after which a LeNet takes 85.0 % of 'zero' for 'one'" in sentence(summary)
        assert any(number.label == "of 'zero' taken for 'one'" for number in key_numbers(summary))
    finally:
        run.config.write_text(text)
