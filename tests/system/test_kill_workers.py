"""Kill workers of a divided run, or its driver, with SIGKILL; what comes out is the same bytes as of a run alone."""

import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

import datadistill as dd
from datadistill.runtime.rundir import RunDir
from system.halting import SETTINGS, ended, groups, halted_in_the_middle, made, resumed, started
from system.tiny_run import RECIPE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds processes by the files they have open"),
]

POOL, RAY = ("workers=2",), ("workers=2", "cluster=local")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """What the run gives in one process, never interrupted."""
    return made(dd.run(RECIPE, *SETTINGS, out=tmp_path_factory.mktemp("whole") / "run", device="cpu").run)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "runs" / "run")


def test_after_the_death_of_a_process_the_run_says_how_it_goes_on(whole: list[bytes], run: RunDir) -> None:
    with started(run, *POOL) as driver:
        os.kill(halted_in_the_middle(driver, partial(groups, run)), signal.SIGKILL)
        code, out, said = ended(driver)
    assert code != 0
    assert out == ""
    assert said.count("\n") == 1
    assert "a worker process died" in said
    assert "--resume" in said
    with started(run, *POOL) as driver:
        assert ended(driver) == (0, "", "")
    assert made(run) == whole
    assert any(resumed(run))


def test_a_cluster_starts_a_worker_again(whole: list[bytes], run: RunDir) -> None:
    pytest.importorskip("ray")
    with started(run, *RAY) as driver:
        os.kill(halted_in_the_middle(driver, partial(groups, run)), signal.SIGKILL)
        code, out, _ = ended(driver)  # Ray says on standard error what it has lost
    assert (code, out) == (0, "")
    assert made(run) == whole
    assert sum(resumed(run)) == 1


@pytest.mark.parametrize("settings", [POOL, RAY])
def test_a_driver_that_is_killed_goes_on(whole: list[bytes], run: RunDir, settings: tuple[str, ...]) -> None:
    if settings is RAY:
        pytest.importorskip("ray")
    with started(run, *settings) as driver:
        worker = halted_in_the_middle(driver, partial(groups, run))
        driver.kill()
        driver.wait()
        with suppress(ProcessLookupError):  # it ends by itself, once it may
            os.kill(worker, signal.SIGCONT)
    with started(run, *settings) as driver:
        assert ended(driver) == (0, "", "")
    assert made(run) == whole
    assert any(resumed(run))
