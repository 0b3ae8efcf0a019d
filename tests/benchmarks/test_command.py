"""The file that results go to."""

import json
from pathlib import Path

from benchmarks.command import _write


def test_results_of_single_cases_are_put_in_their_places(tmp_path: Path) -> None:
    path = tmp_path / "mtt.json"
    for name, seconds in (("ipc10", 1), ("ipc1", 2), ("ipc1_zca", 3), ("ipc1", 4)):
        _write(path, {"name": name, "seconds": seconds}, "mtt")
    results = json.loads(path.read_text())["results"]
    assert [(one["name"], one["seconds"]) for one in results] == [("ipc1", 4), ("ipc1_zca", 3), ("ipc10", 1)]
