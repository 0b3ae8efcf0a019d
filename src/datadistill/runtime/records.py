"""Typed JSON records with a schema version; what a run says about itself."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol, TypeVar, cast, runtime_checkable

from datadistill.core.errors import ConfigError, CorruptFileError, SchemaVersionError
from datadistill.core.structure import structure, unstructure
from datadistill.runtime.atomic import read_json, write_json


@runtime_checkable
class Record(Protocol):
    """A frozen dataclass with a version, raised whenever the meaning of a field changes."""

    schema_version: ClassVar[int]


R = TypeVar("R")  # a Record; as a bound it could not be checked, classes have no protocol with attributes


def save_record(path: Path, record: Record) -> None:
    """Write a record as JSON, atomically."""
    write_json(path, {"schema_version": record.schema_version, **unstructure(record)})


def load_record(cls: type[R], path: Path) -> R:
    """Return the record in ``path``.

    Raises:
        SchemaVersionError: If the record was written by a newer version of the package.
        CorruptFileError: If the file is missing, is not JSON, or is not such a record.
    """
    data = read_json(path)
    if not isinstance(data, dict) or type(data.get("schema_version")) is not int:
        raise CorruptFileError(f"{path}: not a {cls.__name__} record (no schema_version)")
    version, readable = data.pop("schema_version"), cast(type[Record], cls).schema_version
    if version > readable:
        raise SchemaVersionError(
            f"{path}: written with schema {version}, this version reads up to {readable}; upgrade datadistill"
        )
    try:
        return structure(cls, data, source=str(path))
    except ConfigError as error:
        raise CorruptFileError(f"not a {cls.__name__} record: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a result comes from.

    Attributes:
        command: The command line, or ``python`` for the library.
        seed: Seed of the run.
        started: Start, ISO 8601 with offset.
        commit: Commit of the checkout the package was imported from; absent for an installed package.
        dirty: Whether that checkout had uncommitted changes.
        versions: Package name to version, with Python's.
        hardware: Processor, cores, memory in GiB, operating system, accelerator.
    """

    schema_version: ClassVar[int] = 1
    command: str
    seed: int
    started: str
    commit: str | None = None
    dirty: bool | None = None
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)


StageState = Literal["pending", "running", "done", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """State of one stage.

    Attributes:
        state: ``pending``, ``running``, ``done``, ``failed``, or ``stopped``: ended early, to be gone on with.
        seconds: Time spent working, over all starts that had the chance to write it down.
        peak_bytes: Largest memory of the process up to the end of the stage, or of the device on CUDA.
        resumed_from: What a later start continued from, in words; absent for a run in one go.
        error: One line, when ``failed``.
    """

    state: StageState = "pending"
    seconds: float = 0.0
    peak_bytes: int = 0
    resumed_from: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Status:
    """State of every stage of a run, by name."""

    schema_version: ClassVar[int] = 1
    stages: dict[str, StageStatus] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ExpertsUsed:
    """Which stored experts a run used.

    Attributes:
        content_key: Folder of the experts in the store.
        store: Path of the store when the run was made.
        checksums: File name to checksum.
    """

    schema_version: ClassVar[int] = 1
    content_key: str
    store: str
    checksums: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class TeachersUsed:
    """Which stored teachers a run used.

    Attributes:
        dataset: What they were trained on.
        pools: By architecture.
    """

    schema_version: ClassVar[int] = 1
    dataset: str
    pools: dict[str, ExpertsUsed]
