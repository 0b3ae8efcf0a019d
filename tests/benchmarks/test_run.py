"""Every benchmark from end to end, at sizes whose times mean nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"
KEYS = {"ratio", "ratio_same_settings", "seconds", "reference_seconds", "peak_bytes", "reference_peak_bytes"}


def run(*arguments: str) -> str:
    command = [sys.executable, str(RUN), *arguments, "--tiny", "--rounds", "1", "--device", "cpu"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=900).stdout


def last_line(text: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(text.splitlines()[-1])
    return result


@pytest.mark.slow
def test_mtt() -> None:
    result = last_line(run("mtt", "--json"))
    assert result["name"] == "ipc10"
    assert KEYS | {"agreement", "reference_agreement", "convolution_share", "hardware", "versions"} <= set(result)
    assert max(*result["agreement"].values(), *result["reference_agreement"].values()) < 1e-3
    assert set(result["variants"]) >= {"reference", "reference_same_settings", "adjoint", "stored"}


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["experts", "evaluate", "dm", "dc", "cclom", "apm", "dd"])
def test_the_others(benchmark: str, tmp_path: Path) -> None:
    result = last_line(run(benchmark, "--json", "--out", str(tmp_path / "out.json")))
    assert set(result) >= KEYS
    assert json.loads((tmp_path / "out.json").read_text())["results"] == [result]


@pytest.mark.slow
def test_memory_and_table() -> None:
    assert "flat: the limit is" in run("mtt", "--memory", "--case", "ipc10")
    assert "x as fast as the reference" in run("experts")
