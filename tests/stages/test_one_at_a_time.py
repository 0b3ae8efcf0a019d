"""What must not happen twice, or behind a run's back."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datadistill.config import RunConfig, load_recipe
from datadistill.core.errors import RunError, UsageError
from datadistill.runtime.atomic import locked, read_json, write_json
from datadistill.stages import open_run, plan_distill, run_distill
from datadistill.stages.session import Session
from system.tiny_run import RECIPE, TINY, copy_of_finished

PARENT = """
import sys, time
from datadistill.runtime.executor import SpawnPool

if __name__ == "__main__":
    list(SpawnPool(workers=2).run(time.sleep, [0.0, 1000.0]))
"""


def fresh(tmp_path: Path, *settings: str) -> Session:
    config: RunConfig = load_recipe(RECIPE, (*TINY, *settings))
    return open_run(tmp_path / "run", config, device="cpu")


def test_two_processes_never_work_on_one_run(tmp_path: Path) -> None:
    session = fresh(tmp_path)
    with locked(session.run.root / ".lock"), pytest.raises(RunError, match="another process is working on it"):
        run_distill(session)


def test_a_run_does_not_go_on_with_other_experts(tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path)
    used = read_json(run.experts)
    used["checksums"] = dict.fromkeys(used["checksums"], "0" * 32)
    write_json(run.experts, used)
    with pytest.raises(RunError, match="not the networks this run was started with"):
        run_distill(open_run(run.root))


def test_batch_norm_is_not_split_and_that_is_known_before_the_experts(tmp_path: Path) -> None:
    session = fresh(tmp_path, "network=convnet-1-w8-batchnorm", "engine.micro_batch=4")
    with pytest.raises(UsageError, match="batch norm"):
        plan_distill(session)


@pytest.mark.parametrize("settings", [("evaluate.network=convnet-5",), ("ipc=500",)])
def test_what_cannot_work_leaves_no_run_directory(tmp_path: Path, settings: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        fresh(tmp_path, *settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    until = time.monotonic() + 60

    def others() -> list[int]:
        group = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes()
                if os.getsid(int(entry.name)) == parent.pid and int(entry.name) != parent.pid:
                    group += [int(entry.name)] if b"spawn_main" in command else []
            except OSError:  # it has just ended
                continue
        return group

    while len(others()) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(others()) >= 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while others() and time.monotonic() < until:
        time.sleep(0.05)
    assert not others()
    assert multiprocessing.active_children() == []
