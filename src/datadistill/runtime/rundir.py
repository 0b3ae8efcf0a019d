"""The run directory: every file name of a run, in one place."""

from dataclasses import dataclass, replace
from pathlib import Path

from datadistill.core.errors import RunError
from datadistill.runtime.records import StageStatus, Status, load_record, save_record


@dataclass(frozen=True)
class RunDir:
    """Paths inside one run directory. The layout is the contract between the stages."""

    root: Path

    @property
    def config(self) -> Path:
        """The complete resolved configuration; written first, never edited."""
        return self.root / "config.toml"

    @property
    def provenance(self) -> Path:
        """Commit, versions, hardware, command, seed, start."""
        return self.root / "provenance.json"

    @property
    def plan(self) -> Path:
        """What was decided for this machine at the first start, reused on resume."""
        return self.root / "plan.json"

    @property
    def status_file(self) -> Path:
        """State of every stage."""
        return self.root / "status.json"

    @property
    def experts(self) -> Path:
        """Content key and checksums of the experts used."""
        return self.root / "experts.json"

    @property
    def teachers(self) -> Path:
        """Content keys and checksums of the teachers used."""
        return self.root / "teachers.json"

    @property
    def distill(self) -> Path:
        """Everything the distillation writes."""
        return self.root / "distill"

    @property
    def metrics(self) -> Path:
        """One JSON object per logged iteration."""
        return self.distill / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """State of the distillation, replaced by rename."""
        return self.distill / "checkpoint"

    @property
    def synthetic(self) -> Path:
        """The artifact: the distilled set of the last iteration."""
        return self.distill / "synthetic"

    @property
    def variants(self) -> Path:
        """Other artifacts of the same run."""
        return self.distill / "variants"

    def variant(self, name: str) -> Path:
        """Another artifact of the same run, by name: ``selected`` (best on validation), ``averaged``."""
        return self.variants / name

    def group(self, number: int) -> Path:
        """The run directory of one group of a divided run."""
        return self.distill / "groups" / str(number)

    def kept(self, iteration: int, variant: str = "") -> Path:
        """The artifact of an iteration on the way, where such sets are kept, or another set of that iteration."""
        return self.variant(f"iteration_{iteration:06d}" + (f"-{variant}" if variant else ""))

    @property
    def frames(self) -> Path:
        """Pictures of the images on their way, ``iteration_000100.png``."""
        return self.distill / "frames"

    def evaluation(self, name: str) -> Path:
        """One evaluation record."""
        return self.root / "evaluate" / f"{name}.json"

    def networks(self, name: str) -> Path:
        """Networks trained under a protocol, ``<subject>/<draw>_<number>.safetensors``, where they are kept."""
        return self.root / "evaluate" / "networks" / name

    def evaluations(self) -> list[Path]:
        """All evaluation records that exist, sorted by name."""
        return sorted((self.root / "evaluate").glob("[!.]*.json"))  # not those in the making

    @property
    def report(self) -> Path:
        """The self-contained page."""
        return self.root / "report" / "report.html"

    def require(self) -> "RunDir":
        """Return self if this is a run directory.

        Raises:
            RunError: If there is no ``config.toml`` in it.
        """
        if not self.config.is_file():
            raise RunError(f"{self.root}: not a run directory (it has no config.toml)")
        return self

    def status(self) -> Status:
        """Return the state of all stages; empty before the first."""
        return load_record(Status, self.status_file) if self.status_file.exists() else Status()

    def update_stage(self, stage: str, **changes: object) -> StageStatus:
        """Change fields of one stage's status on disk and return it."""
        stages = dict(self.status().stages)
        stages[stage] = replace(stages.get(stage, StageStatus()), **changes)  # type: ignore[arg-type]
        save_record(self.status_file, Status(stages=stages))
        return stages[stage]

    def is_done(self, stage: str) -> bool:
        """Say whether a stage has finished."""
        status = self.status().stages.get(stage)
        return status is not None and status.state == "done"
