"""What a run ends with at a terminal."""

from pathlib import Path

import pytest
from rich.console import Console

from datadistill.cli.tables import show_outcome
from datadistill.evaluate.protocol import Evaluation
from datadistill.pipeline import Outcome
from datadistill.runtime.rundir import RunDir
from datadistill.synthetic.artifact import load_artifact
from report.fake_run import evaluation_of, write_run
from report.test_steps import poisoned


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run").root


def shown(root: Path, evaluation: Evaluation) -> str:
    console = Console(width=80, record=True, quiet=False, file=(root / "said").open("w"))
    artifact = load_artifact(root / "distill" / "synthetic")
    show_outcome(console, Outcome(RunDir(root), artifact, {evaluation.name: evaluation}, root / "report.html"))
    console.file.close()
    return console.export_text()


def test_an_attack_has_a_table_of_its_own_and_no_gain(run: Path) -> None:
    text = shown(run, poisoned())
    assert "'zero' taken for 'one'" in text
    assert "85.0 %" in text
    assert "points from these random" not in text


def test_long_descriptions_leave_room_for_the_numbers(run: Path) -> None:
    evaluation = evaluation_of("default", 1, 10)
    text = shown(run, evaluation)
    assert "points from these random" in text
    assert all(heading in text for heading in ("images", "accuracy", "95 % interval", "nets"))
    assert "\u2026" not in text
