"""``metrics.jsonl``: one JSON object per line, each with an ``iteration``."""

import json
import math
import os
from pathlib import Path

from datadistill.core.errors import CorruptFileError
from datadistill.runtime.atomic import write_text

Row = dict[str, float | int]

_TAIL = 1 << 16
"""Bytes in which the last row certainly is."""


def append_rows(path: Path, rows: list[Row]) -> None:
    """Append rows and flush them to the disk. Numbers that are not finite are written as null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        stream.write(_lines(rows))
        stream.flush()
        os.fsync(stream.fileno())


def read_rows(path: Path) -> list[Row]:
    """Return all rows; a last line cut short by a kill is ignored, an earlier broken one is an error.

    Raises:
        CorruptFileError: If a line other than the last is not a JSON object.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines()
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            rows.append({k: math.nan if v is None else v for k, v in row.items()})
        except (ValueError, AttributeError) as error:
            if number < len(lines):
                raise CorruptFileError(f"{path}: line {number} is not a JSON object") from error
    return rows


def last_iteration(path: Path) -> int:
    """Return the iteration of the last whole row, 0 where there is none; only the end of the file is read."""
    if not path.exists():
        return 0
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL))
        line = stream.read().rpartition(b"\n")[0].rpartition(b"\n")[2]
    try:
        return int(json.loads(line)["iteration"])
    except (ValueError, TypeError, KeyError):  # who needs the rows themselves says what is wrong with them
        return 0


def cut_back(path: Path, iteration: int) -> None:
    """Remove all rows after ``iteration``, so that a resumed run does not write them twice."""
    write_text(path, _lines([row for row in read_rows(path) if row["iteration"] <= iteration]))


def _lines(rows: list[Row]) -> str:
    return "".join(json.dumps({k: v if math.isfinite(v) else None for k, v in row.items()}) + "\n" for row in rows)
