"""The layout of a run directory is a contract, and the status of each stage survives."""

from pathlib import Path

import pytest

from datadistill.core.errors import CorruptFileError, RunError
from datadistill.runtime.records import StageStatus, Status
from datadistill.runtime.rundir import RunDir


def test_every_file_has_the_place_that_other_programs_read_it_from() -> None:
    run = RunDir(Path("runs/x"))
    places = {
        "config": "config.toml",
        "provenance": "provenance.json",
        "plan": "plan.json",
        "status_file": "status.json",
        "experts": "experts.json",
        "distill": "distill",
        "metrics": "distill/metrics.jsonl",
        "checkpoint": "distill/checkpoint",
        "synthetic": "distill/synthetic",
        "frames": "distill/frames",
        "report": "report/report.html",
    }
    assert {name: getattr(run, name).relative_to("runs/x").as_posix() for name in places} == places
    assert run.variant("averaged") == Path("runs/x/distill/variants/averaged")
    assert run.kept(1300) == Path("runs/x/distill/variants/iteration_001300")
    assert run.kept(1300, "averaged") == Path("runs/x/distill/variants/iteration_001300-averaged")
    assert run.evaluation("default") == Path("runs/x/evaluate/default.json")


def test_naming_a_place_creates_nothing(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "x")
    assert run.evaluations() == []
    assert run.status() == Status()
    assert not run.is_done("distill")
    assert not run.root.exists()


def test_a_folder_without_configuration_is_not_a_run(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with pytest.raises(RunError, match="not a run directory"):
        run.require()
    run.config.touch()
    assert run.require() is run


def test_evaluations_are_listed_by_name(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for name in ("upstream", "default"):
        run.evaluation(name).parent.mkdir(exist_ok=True)
        run.evaluation(name).touch()
    (tmp_path / "evaluate" / "notes.txt").touch()
    assert [path.stem for path in run.evaluations()] == ["default", "upstream"]


def test_a_stage_changes_only_what_it_names(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.update_stage("experts", state="done", seconds=2.0)
    run.update_stage("distill", state="running")
    last = run.update_stage("distill", seconds=1.0)
    assert last == StageStatus(state="running", seconds=1.0)
    assert RunDir(tmp_path).status().stages == {"experts": StageStatus(state="done", seconds=2.0), "distill": last}
    assert run.is_done("experts")
    assert not run.is_done("distill")


def test_an_unknown_field_leaves_the_status_as_it_was(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.update_stage("distill", state="running")
    with pytest.raises(TypeError, match="colour"):
        run.update_stage("distill", colour="red")
    assert run.status().stages == {"distill": StageStatus(state="running")}


def test_a_finished_stage_can_be_opened_again_without_its_error(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.update_stage("distill", state="failed", error="NaN")
    run.update_stage("distill", state="running", error=None)
    assert run.status().stages["distill"] == StageStatus(state="running")


def test_a_damaged_status_is_named(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.status_file.write_text('{"schema_version": 1, "stages": {"distill": {"state": "finished"}}}')
    with pytest.raises(CorruptFileError, match=r"status\.json: stages\.distill\.state: unknown value 'finished'"):
        run.status()
