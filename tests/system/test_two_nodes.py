"""A Ray cluster of two nodes, one of which is lost in the middle: the same bytes as alone, and nothing done twice."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

import datadistill as dd
from datadistill.runtime.rundir import RunDir
from system.halting import SECONDS, SETTINGS, ended, experts, groups, halted_in_the_middle, made, resumed, started
from system.tiny_run import RECIPE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds processes by the files they have open"),
]

RAY = Path(sys.executable).with_name("ray")
HERE = "127.0.0.1"
EXPERTS = ("experts.count=4", "method.mtt.max_start_epoch=20", "experts.batch_size=64")


@contextmanager
def node(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a node with one processor, in a session of its own, and end all of it."""
    line = [str(RAY), "start", "--block", "--num-cpus=1", "--disable-usage-stats", "--object-store-memory=100000000"]
    line += ["--min-worker-port=0", "--max-worker-port=0", *words]  # of the nodes of one machine they must differ
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(line, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            lose(process)


def lose(process: subprocess.Popen[str]) -> None:
    """End a node as a power cut does: everything it has started."""
    for one in children_of(process.pid):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def children_of(process: int) -> list[int]:
    """Return a process and all that it has started, and that these have started."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind((HERE, 0))
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class Cluster:
    """Two nodes.

    Attributes:
        address: Of the first.
        second: The other, to be lost.
    """

    address: str
    second: subprocess.Popen[str]

    @property
    def settings(self) -> tuple[str, ...]:
        return ("workers=2", f"cluster={self.address}")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # a token of the user's would be that of another cluster
    address = f"{HERE}:{free_port()}"
    folder = tempfile.mkdtemp(prefix="ray-")  # a short path: sockets have no long names
    head = ("--head", f"--port={address.rpartition(':')[2]}", f"--temp-dir={folder}", "--include-dashboard=false")
    with ExitStack() as nodes:
        nodes.callback(shutil.rmtree, folder, ignore_errors=True)
        nodes.enter_context(node(*head))
        wait_for_nodes(address, 1)
        second = nodes.enter_context(node(f"--address={address}"))
        wait_for_nodes(address, 2)
        yield Cluster(address, second)


def wait_for_nodes(address: str, count: int) -> None:
    """Wait until so many nodes have registered."""
    deadline = time.monotonic() + SECONDS
    program = f"import ray; ray.init('{address}', logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()))"
    while True:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        if done.stdout.strip() == str(count):
            return
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.5)


def files(*paths: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths if path.exists()}


def test_a_divided_run_goes_on_without_a_node(cluster: Cluster, tmp_path: Path) -> None:
    whole = made(dd.run(RECIPE, *SETTINGS, out=tmp_path / "whole" / "run", device="cpu").run)
    run = RunDir(tmp_path / "runs" / "run")
    cards = [RunDir(run.group(number)).synthetic / "card.json" for number in range(4)]
    with started(run, *cluster.settings) as driver:
        halted_in_the_middle(driver, partial(groups, run), lambda process: process in children_of(cluster.second.pid))
        before = files(*cards)
        lose(cluster.second)
        assert ended(driver)[:2] == (0, "")
    assert made(run) == whole
    assert files(*before) == before
    assert sum(resumed(run)) == 1


def test_experts_go_on_without_a_node(cluster: Cluster, tmp_path: Path) -> None:
    alone, run = (RunDir(tmp_path / name / "run") for name in ("alone", "runs"))
    with started(alone, *EXPERTS, command="experts") as driver:
        assert ended(driver)[:2] == (0, "")
    with started(run, *EXPERTS, *cluster.settings, command="experts") as driver:
        halted_in_the_middle(driver, partial(experts, run), lambda process: process in children_of(cluster.second.pid))
        before = files(*run.root.parent.glob("experts/*/trajectory_*.json"))
        lose(cluster.second)
        assert ended(driver)[:2] == (0, "")
    assert files(*before) == before
    found, expected = (
        {path.name: path.read_bytes() for path in one.root.parent.glob("experts/*/trajectory_*.safetensors")}
        for one in (run, alone)
    )
    assert len(expected) == 4
    assert found == expected
