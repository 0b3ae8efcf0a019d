"""A run that is stopped early says so, leaves a whole artifact, and goes on to the bytes of one that was not."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from datadistill.config import Published, load_recipe
from datadistill.experts import train_experts
from datadistill.experts.store import sidecar_path
from datadistill.pipeline import run_stages
from datadistill.runtime.executor import Executor
from datadistill.runtime.progress import Silent
from datadistill.runtime.rundir import RunDir
from datadistill.stages import Session, open_run, run_distill, run_evaluate, run_experts
from datadistill.stages.distill import _owner
from datadistill.synthetic.artifact import load_artifact
from system.tiny_run import RECIPE, TINY, contents

SETTINGS = (*TINY, "threads=1", "method.mtt.max_start_epoch=2", "watch.frame_every=15", "watch.checkpoint_every=10")


def opened(where: Path, *settings: str) -> Session:
    return open_run(where / "run", load_recipe(RECIPE, (*SETTINGS, *settings)), resume=True, device="cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return run_stages(opened(tmp_path_factory.mktemp("whole"))).run


def states(run: RunDir) -> dict[str, str]:
    return {name: stage.state for name, stage in run.status().stages.items()}


def accuracies(run: RunDir) -> Any:
    results = json.loads(run.evaluation("default").read_text())["results"]
    return {name: (result["accuracies"], result["lr"]) for name, result in results.items()}


def trajectories(run: RunDir) -> dict[str, bytes]:
    found = contents(run.root.parent / "experts")
    return {name: content for name, content in found.items() if name.endswith(".safetensors")}


def stop_at(times: int) -> Callable[[], bool]:
    """Return a ``stop`` that says yes when it is asked for the ``times``-th time."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= times


def test_a_run_stopped_everywhere_ends_in_the_same_bytes(whole: RunDir, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    for times in (1, 2, 3, 2):  # after the first epoch, its second, the second expert's first, its second
        run_experts(opened(tmp_path), stop=stop_at(times))
        assert states(run)["experts"] == "stopped"
        assert not run.experts.exists()
    run_experts(opened(tmp_path))
    run_distill(opened(tmp_path), stop=stop_at(1))
    assert states(run) == {"experts": "done", "distill": "stopped", "evaluate": "pending", "report": "pending"}
    assert load_artifact(run.synthetic).card.iteration == 10
    run_stages(opened(tmp_path))
    assert set(states(run).values()) == {"done"}
    assert run.status().stages["distill"].resumed_from == "an early stop"
    assert contents(run.distill) == contents(whole.distill)
    assert trajectories(run) == trajectories(whole)
    assert accuracies(run) == accuracies(whole)


def test_a_run_stops_between_checkpoints_where_metrics_were_read(whole: RunDir, tmp_path: Path) -> None:
    run_experts(opened(tmp_path, "watch.log_every=5"))
    run_distill(opened(tmp_path, "watch.log_every=5"), stop=stop_at(1))
    run = RunDir(tmp_path / "run")
    assert (states(run)["distill"], load_artifact(run.synthetic).card.iteration) == ("stopped", 5)
    run_distill(opened(tmp_path, "watch.log_every=5"))
    assert (run.synthetic / "synthetic.safetensors").read_bytes() == (
        whole.synthetic / "synthetic.safetensors"
    ).read_bytes()


def test_a_set_that_went_on_is_judged_anew(whole: RunDir, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run_experts(opened(tmp_path))
    run_distill(opened(tmp_path), stop=lambda: True)
    run_evaluate(opened(tmp_path))
    assert run.is_done("evaluate")
    assert accuracies(run) != accuracies(whole)
    run_distill(opened(tmp_path))
    assert states(run) == {"experts": "done", "distill": "done", "evaluate": "pending", "report": "pending"}
    run_stages(opened(tmp_path))
    assert accuracies(run) == accuracies(whole)


def test_a_finished_set_that_is_written_again_stays_judged(tmp_path: Path) -> None:
    run_stages(opened(tmp_path))
    run_distill(opened(tmp_path))
    assert set(states(RunDir(tmp_path / "run")).values()) == {"done"}


def test_a_stop_is_asked_for_at_checkpoints_only_and_not_before_the_first(tmp_path: Path) -> None:
    run_experts(opened(tmp_path))
    asked: list[int] = []
    run_distill(opened(tmp_path), stop=lambda: bool(asked.append(1)))
    assert len(asked) == 1  # at 10; at 20 there is nothing left to stop
    assert states(RunDir(tmp_path / "run"))["distill"] == "done"


def test_a_run_that_is_resumed_without_time_exports_its_checkpoint(tmp_path: Path) -> None:
    run_experts(opened(tmp_path))
    run_distill(opened(tmp_path), stop=lambda: True)
    run = RunDir(tmp_path / "run")
    before = contents(run.distill)
    (run.synthetic / "card.json").unlink()
    run_distill(opened(tmp_path), stop=lambda: True)
    assert states(run)["distill"] == "stopped"
    assert contents(run.distill) == before


class Workers(Executor):
    """An executor that is not in this process, as far as anybody can tell."""

    def run(self, task: Callable[[Any], Any], arguments: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for index, argument in enumerate(arguments):
            yield index, task(argument)


def test_workers_are_stopped_between_experts(tmp_path: Path) -> None:
    task = tiny.expert_task(tmp_path)
    assert not train_experts(task, 3, Silent(), Workers(), stop=lambda: True)
    assert sidecar_path(task.folder, 0).exists()
    assert not sidecar_path(task.folder, 1).exists()
    assert train_experts(task, 3, Silent(), Workers())


def test_the_papers_number_decides_nothing(tmp_path: Path) -> None:
    session = opened(tmp_path)
    told = replace(session.config, published=Published(accuracy=0.462, std=0.008, source="the paper"))
    assert told == session.config
    assert _owner(replace(session, config=told)) == _owner(session)
    assert open_run(session.run.root, told, resume=True).config.published is None
