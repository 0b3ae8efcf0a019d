"""The flags, all of them, in one place; a test holds the list. Options live on the components, not here."""

import re
from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from datadistill.core.errors import UsageError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Flags:
    """Where, on what, and how loudly."""

    out: Path | None = None
    "The run directory itself. Default: runs/RECIPE, or the next free name. Experts lie beside it, in experts/."
    device: str = "auto"
    "auto, cpu, cuda, cuda:1 …; an existing run keeps its own."
    seed: int | None = None
    "Seed of the run; that of the experts is experts.seed."
    set: tuple[str, ...] = ()
    "key=value: change one setting of the recipe, e.g. --set iterations=500 --set experts.lr=0.02; key= takes it out."
    resume: bool = False
    "Go on with a run that was interrupted; starts fresh where there is none."
    dry_run: bool = False
    "Print the complete configuration, defaults and all, and stop."
    json: bool = False
    "Print one JSON object as the last line."
    quiet: bool = False
    "No progress bars, no tables."
    data_root: Path | None = None
    "Where data sets are and are downloaded to. Default: $DATADISTILL_DATA, or ./data."
    memory_limit: str | None = None
    "Memory the distillation may use, e.g. 8GiB. Default: what is free."

    def settings(self) -> tuple[str, ...]:
        """Return all ``key=value`` changes, the seed among them."""
        return (*self.set, *(() if self.seed is None else (f"seed={self.seed}",)))

    def memory_bytes(self) -> int | None:
        """Return the memory limit in bytes.

        Raises:
            UsageError: If it is not a number with a unit.
        """
        if self.memory_limit is None:
            return None
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", self.memory_limit.strip(), re.IGNORECASE)
        if not found or not float(found[1]):
            raise UsageError(f"--memory-limit {self.memory_limit}: expected a size like 8GiB or 500MB")
        return int(float(found[1]) * _UNITS[found[2].upper()])
