"""Trajectories on disk: one safetensors file per expert, read by slice.

::

    <store>/<content key>/
      recipe.json                    everything that changes the weights
      trajectory_000.safetensors     params [epochs+1, p], row 0 before the first epoch; statistics [s] of the last
                                     row; of chosen epochs only: params [e p], statistics [e s]
      trajectory_000.json            seed, accuracy, checksum; written after the tensors
      trajectory_000.partial/        an expert in the making, one file per epoch
      manifest.json                  derived from the sidecars; written last
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor

from datadistill.core.arrays import Params, Statistics
from datadistill.core.errors import CorruptFileError, RunError
from datadistill.runtime.atomic import verify, write_json
from datadistill.runtime.records import load_record


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What there is to know about one expert.

    Attributes:
        index: Number of the expert.
        epochs: The epochs whose parameters are kept, in order; 0 is before the first.
        parameters: Length of a row, p.
        checksum: Of the safetensors file.
        validation_accuracy: Of the last row, where there are validation images.
        train_loss: Mean loss per epoch.
        seconds: Time spent training.
    """

    schema_version: ClassVar[int] = 1
    index: int
    epochs: tuple[int, ...]
    parameters: int
    checksum: str
    validation_accuracy: float | None = None
    train_loss: tuple[float, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Segment:
    """A piece of an expert's path.

    Attributes:
        start: Parameters after ``epoch`` epochs.
        target: Parameters some epochs later.
        expert: Whose.
        epoch: Start epoch.
    """

    start: Params
    target: Params
    expert: int
    epoch: int

    def to(self, like: Tensor) -> "Segment":
        """Return the segment in the dtype and on the device of ``like``."""
        return replace(self, start=self.start.to(like), target=self.target.to(like))


@dataclass
class ExpertStore:
    """The first ``count`` experts of one folder.

    Attributes:
        folder: ``<store>/<content key>``.
        sidecars: One per expert, in order; every file was verified when the store was opened.
        device: Where segments are put.
    """

    folder: Path
    sidecars: tuple[Sidecar, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _open: dict[int, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: Path, count: int, device: torch.device) -> "ExpertStore":
        """Return the first ``count`` experts in ``folder``, checked against their checksums.

        Raises:
            RunError: If there are fewer.
            CorruptFileError: If a file is damaged.
        """
        missing = [j for j in range(count) if not sidecar_path(folder, j).exists()]
        if missing:
            raise RunError(
                f"{folder}: {count - len(missing)} of {count} experts are there; run `datadistill experts` first"
            )
        sidecars = tuple(load_record(Sidecar, sidecar_path(folder, j)) for j in range(count))
        for sidecar in sidecars:
            path = trajectory_path(folder, sidecar.index)
            try:
                verify(path, sidecar.checksum)
            except CorruptFileError as error:
                remedy = f"delete {path.name} and {path.stem}.json to have it trained again"
                raise CorruptFileError(f"{error}; {remedy}") from error
        return cls(folder, sidecars, device)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # files are opened anew in another process

    def segment(self, expert: int, epoch: int, span: int) -> Segment:
        """Return the segment of ``expert`` that starts after ``epoch`` epochs and covers ``span`` more.

        Raises:
            ValueError: If these epochs were not kept.
            CorruptFileError: If the file has become unreadable.
        """
        kept = self.sidecars[expert].epochs
        if epoch not in kept or epoch + span not in kept:
            raise ValueError(f"expert {expert} was not kept after epochs {epoch} and {epoch + span}, only {kept}")
        try:
            if expert not in self._open:
                stored: Any = safetensors.safe_open(trajectory_path(self.folder, expert), framework="pt")
                self._open[expert] = stored.get_slice("params")
            rows = self._open[expert]
            start, target = (rows[kept.index(wanted)].clone() for wanted in (epoch, epoch + span))  # aligned
        except (SafetensorError, OSError) as error:
            raise CorruptFileError(f"{trajectory_path(self.folder, expert)}: {error}") from error
        return Segment(start.to(self.device), target.to(self.device), expert, epoch)

    def final(self, expert: int, epoch: int | None = None) -> tuple[Params, Statistics]:
        """Return the parameters and batch-norm statistics of ``expert`` after its last epoch, or a chosen one.

        Raises:
            ValueError: If that epoch was not kept, or not its statistics.
            CorruptFileError: If the file has become unreadable.
        """
        path, kept = trajectory_path(self.folder, expert), self.sidecars[expert].epochs
        wanted = kept[-1] if epoch is None else epoch
        try:
            with safetensors.safe_open(path, framework="pt") as stored:
                statistics = stored.get_tensor("statistics")
                if wanted not in kept or (statistics.dim() == 1 and wanted != kept[-1]):
                    raise ValueError(f"expert {expert} was not kept for use after epoch {wanted}, only {kept}")
                row = kept.index(wanted)
                params = stored.get_slice("params")[row].clone()  # aligned
                statistics = statistics if statistics.dim() == 1 else statistics[row].clone()
        except (SafetensorError, OSError) as error:
            raise CorruptFileError(f"{path}: {error}") from error
        return params.to(self.device), statistics.to(self.device)

    def sample(self, *, span: int, start_before: int, generator: torch.Generator, start_from: int = 0) -> Segment:
        """Draw an expert and a start epoch in ``start_from … start_before−1``; return its next ``span`` epochs."""
        expert = int(torch.randint(len(self.sidecars), (), generator=generator))
        epoch = start_from + int(torch.randint(start_before - start_from, (), generator=generator))
        return self.segment(expert, epoch, span)


def trajectory_path(folder: Path, index: int) -> Path:
    """Return the file of expert ``index``."""
    return folder / f"trajectory_{index:03d}.safetensors"


def sidecar_path(folder: Path, index: int) -> Path:
    """Return the sidecar of expert ``index``; it exists when the expert is complete."""
    return folder / f"trajectory_{index:03d}.json"


def write_manifest(folder: Path) -> None:
    """Derive ``manifest.json`` from the sidecars that are there."""
    sidecars = [load_record(Sidecar, path) for path in sorted(folder.glob("trajectory_*.json"))]
    checksums = {trajectory_path(folder, s.index).name: s.checksum for s in sidecars}
    write_json(folder / "manifest.json", {"schema_version": 1, "experts": len(sidecars), "checksums": checksums})
