"""What the report reads: whatever is there, and in one line what cannot be used."""

from pathlib import Path

import pytest

from datadistill.core.errors import RunError
from datadistill.report import collect
from datadistill.runtime.rundir import RunDir
from report.fake_run import write_run


def test_reads_a_complete_run(tmp_path: Path) -> None:
    summary = collect(write_run(tmp_path / "tiny", protocols=("upstream", "default")))
    assert summary.name == "tiny"
    assert summary.iteration == 500
    assert summary.problems == ()
    assert summary.artifact is not None and summary.selected is not None
    assert [evaluation.name for evaluation in summary.evaluations] == ["default", "upstream"]
    assert [frame.iteration for frame in summary.frames] == [0, 167, 333, 500]
    assert summary.config["method"]["mtt"]["student_steps"] == 20
    assert set(summary.stages) == {"experts", "distill", "evaluate"}
    assert summary.provenance is not None and summary.experts is not None


def test_a_run_that_has_just_been_set_up_is_no_problem(tmp_path: Path) -> None:
    summary = collect(write_run(tmp_path / "tiny", only_config=True))
    assert summary.problems == ()
    assert summary.iteration is None and summary.headline is None and summary.artifact is None
    assert not summary.has_checkpoint


def test_an_artifact_without_its_card_is_not_there_yet(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tiny")
    (run.synthetic / "card.json").unlink()
    summary = collect(run)
    assert summary.artifact is None and summary.problems == ()
    assert summary.iteration == 500  # from the metrics


def test_damaged_files_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tiny")
    run.config.write_text("seed = = 3")
    run.provenance.write_text("{")
    run.evaluation("default").write_text('{"schema_version": 99}')
    (run.synthetic / "synthetic.safetensors").write_bytes(b"no")
    summary = collect(run)
    assert summary.config == {} and summary.config_text == "seed = = 3"
    assert summary.artifact is None and summary.provenance is None and summary.evaluations == ()
    assert summary.selected is not None
    for name in ("config.toml", "provenance.json", "default.json", "synthetic.safetensors"):
        assert sum(name in problem for problem in summary.problems) == 1
    assert len(summary.problems) == 4


def test_refuses_what_is_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no config\.toml"):
        collect(RunDir(tmp_path))
