"""A worker's commands and the summary, in this process and at tiny sizes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.job import Job

from benchmarks import cases, summary, worker

CPU = torch.device("cpu")


def asked(case: cases.Case, variant: str, folder: Path) -> worker.Worker:
    return worker.Worker(Job(case, variant, folder, CPU))


@pytest.mark.usefixtures("global_generators")  # the baseline draws from it, as published
@pytest.mark.parametrize(
    ("benchmark", "wanted"),
    [
        *((benchmark, group[-1].name) for benchmark, group in cases.CASES.items()),
        ("mtt", "ipc1_zca"),
        ("mtt", "att_ipc50"),
        ("apm", "student_ipc10"),
    ],
)
def test_every_variant_takes_turns(benchmark: str, wanted: str, tmp_path: Path) -> None:
    case = next(case for case in cases.CASES[benchmark] if case.name == wanted).tiny()
    source = asked(case, "prepare", tmp_path).prepare(None)
    assert source["images"].startswith("seeded noise")
    rates: dict[str, Any] = {}
    if benchmark in cases.DIFFERENTIATED:
        asked(case, "float64", tmp_path).truth()
    if benchmark == "mtt" and not case.nearest:
        rates = asked(case, "rates", tmp_path).rates()
    found = {}
    for name in (*cases.REFERENCES, *(name for name in cases.OURS[benchmark] if not name.endswith("compiled"))):
        process = asked(case, name, tmp_path)
        found[name] = {**process.warm(), "turns": [process.turn(1)], **process.end()}
    result = summary.summed_up(case, found, rates) | source | {"load_before_and_after": [0.0, 0.0], "rounds": 1}
    assert result["ours"] in cases.OURS[benchmark]
    assert result["ratio"] == result["reference_seconds"] / result["seconds"]
    assert "x as fast as the reference" in summary.table(result)
    if benchmark in cases.DIFFERENTIATED:
        distances = (facts["agreement"].values() for facts in found.values())
        assert max(max(values) for values in distances) < 1e-3


def test_memory_is_flat_up_to_the_kept_weights() -> None:
    case = cases.CASES["mtt"][-1]
    weights = 80 * 1000 * 4
    theirs: dict[str, int | None] = {"10": 5, "80": None}
    below = summary.memory(case, 1000, {"ours": {"10": 10**6, "80": 1_100_000 + weights}, "reference": theirs})
    above = summary.memory(case, 1000, {"ours": {"10": 10**6, "80": 1_100_009 + weights}, "reference": theirs})
    assert (below["flat"], above["flat"]) == (True, False)
