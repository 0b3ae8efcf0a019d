"""``metrics.jsonl``: appended, read back, cut back."""

import math
from pathlib import Path

import pytest

from datadistill.core.errors import CorruptFileError
from datadistill.runtime.metrics import append_rows, cut_back, last_iteration, read_rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "distill" / "metrics.jsonl"


def test_rows_come_back_in_order(path: Path) -> None:
    append_rows(path, [{"iteration": 0, "loss": 1.5}])
    append_rows(path, [{"iteration": 10, "loss": 1e-300}, {"loss": 0.1, "iteration": 20}])
    assert read_rows(path) == [
        {"iteration": 0, "loss": 1.5},
        {"iteration": 10, "loss": 1e-300},
        {"iteration": 20, "loss": 0.1},
    ]


def test_no_file_is_no_rows_and_no_rows_are_a_file(path: Path) -> None:
    assert read_rows(path) == []
    append_rows(path, [])
    assert read_rows(path) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null_on_disk_and_nan_when_read(path: Path, value: float) -> None:
    append_rows(path, [{"iteration": 1, "loss": value}])
    assert path.read_text() == '{"iteration": 1, "loss": null}\n'
    assert math.isnan(read_rows(path)[0]["loss"])


def test_a_last_line_cut_short_is_ignored_wherever_it_was_cut(path: Path) -> None:
    append_rows(path, [{"iteration": 1, "loss": 0.5}, {"iteration": 2, "loss": 0.25}])
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read_rows(path) == [{"iteration": 1, "loss": 0.5}]


@pytest.mark.parametrize("line", [b"{", b"[1]", b"3", b"\xff\xfe", b'"text"'], ids=repr)
def test_an_earlier_broken_line_is_named(path: Path, line: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"iteration": 1}\n' + line + b'\n{"iteration": 3}\n')
    with pytest.raises(CorruptFileError, match=r"metrics\.jsonl: line 2 is not a JSON object"):
        read_rows(path)


def test_cut_back_removes_what_comes_after_and_what_was_cut_short(path: Path) -> None:
    append_rows(path, [{"iteration": i, "loss": math.nan if i == 1 else 0.5} for i in range(4)])
    with path.open("a") as stream:
        stream.write('{"iteration": 1')
    cut_back(path, 2)
    append_rows(path, [{"iteration": 3, "loss": 0.25}])
    rows = read_rows(path)
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    assert math.isnan(rows[1]["loss"])
    assert rows[3]["loss"] == 0.25


def test_cut_back_before_the_first_row_leaves_none(path: Path) -> None:
    append_rows(path, [{"iteration": 0, "loss": 1.0}])
    cut_back(path, -1)
    assert read_rows(path) == []


def test_cut_back_of_nothing_is_nothing(path: Path) -> None:
    cut_back(path, 5)
    assert read_rows(path) == []


def test_the_last_iteration_is_that_of_the_last_whole_row(path: Path) -> None:
    assert last_iteration(path) == 0
    append_rows(path, [])
    assert last_iteration(path) == 0
    append_rows(path, [{"iteration": i, "loss": math.nan} for i in range(5000)])  # more than is read
    assert last_iteration(path) == 4999
    with path.open("a") as stream:
        stream.write('{"iteration": 5')
    assert last_iteration(path) == 4999
