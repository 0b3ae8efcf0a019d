"""Records on disk: versions, missing and unknown keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from datadistill.core.errors import CorruptFileError, SchemaVersionError
from datadistill.runtime.atomic import read_json, write_json
from datadistill.runtime.records import (
    ExpertsUsed,
    Provenance,
    Record,
    StageStatus,
    Status,
    load_record,
    save_record,
)

RECORDS = [
    Provenance(command="datadistill run", seed=3, started="2026-01-01T00:00:00+00:00"),
    Provenance(command="python", seed=3, started="", commit="abc", dirty=False, versions={"torch": "2.13"}),
    Status(),
    Status(stages={"distill": StageStatus(state="failed", seconds=1.5, peak_bytes=7, error="NaN")}),
    ExpertsUsed(content_key="0123", store="experts", checksums={"trajectory_000.safetensors": "ff"}),
]


@dataclass(frozen=True)
class Second:
    schema_version: ClassVar[int] = 2
    value: int


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back(tmp_path: Path, record: Record) -> None:
    save_record(tmp_path / "r.json", record)
    assert load_record(type(record), tmp_path / "r.json") == record
    assert read_json(tmp_path / "r.json")["schema_version"] == 1


def test_a_record_of_a_newer_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    write_json(tmp_path / "r.json", {"schema_version": 3, "value": 1, "unheard_of": True})
    with pytest.raises(SchemaVersionError, match=r"r\.json: written with schema 3, .* up to 2; upgrade"):
        load_record(Second, tmp_path / "r.json")


def test_a_record_of_an_older_version_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "r.json", {"schema_version": 1, "value": 1})
    assert load_record(Second, tmp_path / "r.json") == Second(1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"value": 1}, "not a Second record (no schema_version)"),
        ({"schema_version": "2", "value": 1}, "not a Second record (no schema_version)"),
        ({"schema_version": True, "value": 1}, "not a Second record (no schema_version)"),
        ([1], "not a Second record (no schema_version)"),
        (None, "not a Second record (no schema_version)"),
        ({"schema_version": 2}, "missing key 'value'"),
        ({"schema_version": 2, "value": "1"}, "value: expected a whole number, got '1'"),
        ({"schema_version": 2, "valve": 1}, "unknown key 'valve'; did you mean 'value'?"),
    ],
    ids=str,
)
def test_a_damaged_record_names_file_and_key(tmp_path: Path, data: Any, message: str) -> None:
    write_json(tmp_path / "r.json", data)
    with pytest.raises(CorruptFileError) as caught:
        load_record(Second, tmp_path / "r.json")
    assert "r.json: " in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"r\.json: no such file"):
        load_record(Status, tmp_path / "r.json")
