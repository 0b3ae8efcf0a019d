"""Runs with workers in processes of their own, and one of them halted in the middle of its work, never beside it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from datadistill.runtime.rundir import RunDir
from system.tiny_run import RECIPE, TINY

GROUPS = 4
SETTINGS = (
    *TINY,
    "ipc=4",
    f"groups={GROUPS}",
    "threads=1",
    "iterations=200",
    "watch.probe_every=0",
    "watch.frame_every=200",
    "full.networks=0",
    "evaluate.networks=1",
    "evaluate.random_draws=1",
)
SECONDS = 900.0
"""Longest that a process of these tests may take, on a machine with much else to do."""


@dataclass(frozen=True)
class Work:
    """Something that one worker does.

    Attributes:
        lock: The file it holds meanwhile.
        begun: Says whether what has been done of it would be found again.
        done: Says whether it has ended.
    """

    lock: Path
    begun: Callable[[], bool]
    done: Callable[[], bool]


def groups(run: RunDir) -> list[Work]:
    """Return the groups of a divided run."""
    parts = [RunDir(run.group(number)) for number in range(GROUPS)]
    return [
        Work(
            part.root / ".lock",
            (part.checkpoint / "state.safetensors").exists,
            lambda part=part: part.is_done("distill"),
        )
        for part in parts
    ]


def experts(run: RunDir) -> list[Work]:
    """Return the experts of a run that have been begun."""
    folders = (run.root.parent / "experts").glob("*/trajectory_*.partial")
    return [
        Work(
            partial.with_name(f".{partial.stem}.lock"),
            (partial / "epoch_0001.safetensors").exists,
            partial.with_suffix(".json").exists,
        )
        for partial in folders
    ]


@contextmanager
def started(run: RunDir, *settings: str, command: str = "run") -> Iterator[subprocess.Popen[str]]:
    """Start, or go on with, the divided run."""
    words = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    line = [sys.executable, "-m", "datadistill", command, RECIPE, *words, "--out", str(run.root), "--resume"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*line, "--quiet", "--device", "cpu"], **options) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of a process; return its exit code, and what it has said to standard output and error."""
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def halted_in_the_middle(
    driver: subprocess.Popen[str], work: Callable[[], list[Work]], among: Callable[[int], bool] = lambda _: True
) -> int:
    """Wait for a process in the middle of its work, halt it there, and return it.

    Args:
        driver: Whose workers they are.
        work: What there is to do.
        among: Which processes are wanted.
    """
    deadline = time.monotonic() + SECONDS
    while True:
        for one in work():
            if one.begun() and not one.done() and (process := _holder(one.lock)) is not None and among(process):
                if _halt(process) and not one.done():
                    return process
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)
        assert driver.poll() is None, driver.stderr.read() if driver.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _holder(lock: Path) -> int | None:
    """Return the process that has a file open, if there is one."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # of another user, or gone by now
            if os.readlink(link) == str(lock.resolve()):
                return int(link.parts[2])
    return None


def _halt(process: int) -> bool:
    """Halt a process, and say whether it stands."""
    with suppress(OSError):
        os.kill(process, signal.SIGSTOP)
        while (state := Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]) not in "TZX":
            time.sleep(0.001)
        return state == "T"
    return False


def resumed(run: RunDir) -> list[bool]:
    """Say of every group whether it was taken up where it had been left."""
    stages = [RunDir(run.group(number)).status().stages["distill"] for number in range(GROUPS)]
    return [bool(stage.resumed_from) for stage in stages]


def made(run: RunDir) -> list[bytes]:
    """Return what a divided run has made."""
    return [(run.synthetic / "synthetic.safetensors").read_bytes(), run.metrics.read_bytes()]
