"""What an iteration of APM costs: every size measured, a line through them, a section of its page."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cost

COST = Path(__file__).parents[2] / "benchmarks" / "cost.py"


def result() -> dict[str, Any]:
    sizes = {"network": "convnet-3", "size": 32, "ipc": 50, "snapshots": 5, "batch": 256, "rounds": 3}
    chunks = {
        str(chunk): {"before_bytes": 10**8, "peak_bytes": 10**9 + 10**7 * chunk, "seconds": 2 + 0.1 * 3000 / chunk}
        for chunk in (10, 100, 500)
    }
    hardware = {"processor": "AMD EPYC", "cores": "2"}
    student = {"before_bytes": 10**8, "peak_bytes": 2 * 10**9, "seconds": 3.0}
    lines = cost.fitted(sizes, chunks)
    return {"sizes": sizes, "chunks": chunks, "student": student, "lines": lines, "hardware": hardware, "commit": "0a1"}


def test_the_lines_go_through_what_lies_on_a_line() -> None:
    lines = result()["lines"]
    assert (lines["memory"]["at_zero"], lines["memory"]["slope"]) == pytest.approx((1e9, 1e7))
    assert (lines["seconds"]["at_zero"], lines["seconds"]["slope"]) == pytest.approx((2.0, 0.1))
    assert max(line["largest_error"] for line in lines.values()) < 1e-9


def test_the_paper_stands_beside_it_as_the_paper() -> None:
    ours, _, theirs = cost.table(result()).partition("the paper's, on its own machine")
    assert "images, chunks of 100              2.000        1.900     5.000        255.00" in ours
    assert "memory  = 1.000 GB + 10.000 MB x images in a chunk (to 0%)" in ours
    assert ("TESLA" in ours, "TESLA" in theirs) == (False, True)


def test_the_section_has_a_block_for_every_file(tmp_path: Path) -> None:
    assert cost.section(tmp_path) == "Not measured yet.\n"
    for name in ("cpu", "gpu"):
        (tmp_path / f"{name}.json").write_text(json.dumps(result()))
    assert cost.section(tmp_path).count("```text\n") == 2


@pytest.mark.slow
def test_everything_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, str(COST), "--tiny", "--json", "--device", "cpu", "--out", str(tmp_path / "cpu.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
    found = json.loads((tmp_path / "cpu.json").read_text())
    assert json.loads(done.stdout) == found
    assert list(found["chunks"]) == ["10", "25", "50", "100", "250", "500"]
    for facts in (*found["chunks"].values(), found["student"]):
        assert facts["seconds"] > 0
        assert facts["peak_bytes"] >= facts["before_bytes"] > 0
    assert "memory  = " in cost.table(found)
