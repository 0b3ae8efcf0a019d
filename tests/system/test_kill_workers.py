"""Kill workers of a divided run, or its driver, with SIGKILL; what comes out is the same bytes as of a run alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import datadistill as dd
from datadistill.runtime.rundir import RunDir
from system.tiny_run import RECIPE, TINY

pytestmark = pytest.mark.slow

SETTINGS = (
    *TINY,
    "ipc=4",
    "groups=4",
    "threads=1",
    "iterations=200",
    "watch.probe_every=0",
    "watch.frame_every=200",
    "full.networks=0",
)
POOL, RAY = ("workers=2",), ("workers=2", "cluster=local")
SECONDS = 180.0
"""Longest that a process of these tests may take."""


@contextmanager
def started(run: RunDir, settings: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
    words = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    command = [sys.executable, "-m", "datadistill", "run", RECIPE, *words, "--out", str(run.root), "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OF_THIS_TEST": str(run.root)}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment}
    with subprocess.Popen([*command, "--quiet", "--device", "cpu"], **options) as process:
        try:
            yield process
        finally:
            process.kill()


def workers_of(run: RunDir) -> list[int]:
    """Return the processes that distil groups of a run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = ((folder / name).read_bytes() for name in ("environ", "cmdline"))
        except OSError:
            continue
        if str(run.root).encode() in environment and any(s in command for s in (b"spawn_main", b"ray::_work")):
            found.append(int(folder.name))
    return found


def in_the_middle(run: RunDir) -> bool:
    """Say whether a group is beyond its first checkpoint and not done."""
    for number in range(4):
        group = RunDir(run.group(number))
        if (group.checkpoint / "state.safetensors").exists() and not group.is_done("distill"):
            return True
    return False


def wait_for(process: subprocess.Popen[str], moment: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not moment():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=SECONDS)
    return process.returncode, said


def made(run: RunDir) -> list[bytes]:
    return [(run.synthetic / "synthetic.safetensors").read_bytes(), run.metrics.read_bytes()]


def resumed(run: RunDir) -> list[bool]:
    """Say of every group whether it was taken up where it had been left."""
    stages = [RunDir(run.group(number)).status().stages["distill"] for number in range(4)]
    return [bool(stage.resumed_from) for stage in stages]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """What the run gives in one process, never interrupted."""
    return made(dd.run(RECIPE, *SETTINGS, out=tmp_path_factory.mktemp("whole") / "run", device="cpu").run)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "runs" / "run")


def test_after_the_death_of_a_process_the_run_says_how_it_goes_on(whole: list[bytes], run: RunDir) -> None:
    with started(run, POOL) as driver:
        wait_for(driver, lambda: in_the_middle(run))
        os.kill(max(workers_of(run)), signal.SIGKILL)
        code, said = ended(driver)
    assert code != 0
    assert said.count("\n") == 1
    assert "a worker process died" in said
    assert "--resume" in said
    with started(run, POOL) as driver:
        assert ended(driver) == (0, "")
    assert made(run) == whole
    assert any(resumed(run))


def test_a_cluster_starts_a_worker_again(whole: list[bytes], run: RunDir) -> None:
    pytest.importorskip("ray")
    with started(run, RAY) as driver:
        wait_for(driver, lambda: in_the_middle(run) and bool(workers_of(run)))
        os.kill(max(workers_of(run)), signal.SIGKILL)
        assert ended(driver) == (0, "")
    assert made(run) == whole
    assert any(resumed(run))


@pytest.mark.parametrize("settings", [POOL, RAY])
def test_a_driver_that_is_killed_goes_on(whole: list[bytes], run: RunDir, settings: tuple[str, ...]) -> None:
    if settings is RAY:
        pytest.importorskip("ray")
    with started(run, settings) as driver:
        wait_for(driver, lambda: in_the_middle(run))
        driver.kill()
        driver.wait()
    with started(run, settings) as driver:
        assert ended(driver) == (0, "")
    assert made(run) == whole
    assert any(resumed(run))
