"""Everything a report needs from one run directory; what is not there yet is left out."""

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from datadistill.core.errors import CorruptFileError, UsageError
from datadistill.evaluate.pools import parted
from datadistill.evaluate.protocol import Evaluation
from datadistill.runtime.atomic import read_json
from datadistill.runtime.metrics import Row, read_rows
from datadistill.runtime.records import ExpertsUsed, Provenance, StageStatus, Status, load_record
from datadistill.runtime.rundir import RunDir
from datadistill.synthetic.artifact import Artifact, load_artifact

T = TypeVar("T")
_FRAME = re.compile(r"iteration_(\d+)\.png")


@dataclass(frozen=True)
class Frame:
    """One picture of the images on their way."""

    iteration: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What one run directory holds at this moment.

    Attributes:
        name: Name of the folder.
        root: The folder, as it was given.
        config: The resolved configuration as plain tables; empty if it cannot be read.
        config_text: The same as it stands in the file.
        provenance: Where the run comes from.
        plan: What was decided for the machine at the first start.
        status: State of the stages.
        experts: Which stored experts were used.
        rows: Logged metrics, in order.
        artifact: The synthetic set of the last iteration.
        selected: The iterate that was best on validation images, if it was kept.
        frames: Pictures of the images on their way, by iteration.
        evaluations: One per protocol, in the order of the recipe, others by name with ``default`` first, those that
            choose on the test set last.
        has_checkpoint: Whether there is a state of the distillation to continue from.
        problems: One line for each file that is there but cannot be used.
    """

    name: str
    root: Path
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ""
    provenance: Provenance | None = None
    plan: dict[str, Any] = field(default_factory=dict)
    status: Status = field(default_factory=Status)
    experts: ExpertsUsed | None = None
    rows: tuple[Row, ...] = ()
    artifact: Artifact | None = None
    selected: Artifact | None = None
    frames: tuple[Frame, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    has_checkpoint: bool = False
    problems: tuple[str, ...] = ()

    @property
    def iteration(self) -> int | None:
        """How far the distillation has come; absent before its first trace on disk."""
        if self.artifact is not None:
            return self.artifact.card.iteration
        seen = [int(row["iteration"]) for row in self.rows if "iteration" in row]
        seen += [frame.iteration for frame in self.frames]
        return max(seen) if seen else None

    @property
    def stages(self) -> dict[str, StageStatus]:
        """What the stages before this one took; the report is still being written when it is read."""
        return {name: stage for name, stage in self.status.stages.items() if name != "report"}

    @property
    def headline(self) -> Evaluation | None:
        """The evaluation to quote: the first."""
        return self.evaluations[0] if self.evaluations else None


def collect(run: RunDir) -> RunSummary:
    """Return what ``run`` holds at this moment.

    Files that are not there yet are left out; files that cannot be used are named in ``problems``.

    Raises:
        RunError: If it is not a run directory.
    """
    run.require()
    problems: list[str] = []

    def read(path: Path, reader: Callable[[], T], *, default: T) -> T:
        return _attempt(reader, problems, default=default) if path.exists() else default

    def artifact(folder: Path) -> Artifact | None:
        return read(folder / "card.json", lambda: load_artifact(folder), default=None)

    text = run.config.read_text(encoding="utf-8", errors="replace")
    evaluations = [_attempt(_evaluation(path), problems, default=None) for path in run.evaluations()]
    config: dict[str, Any] = _attempt(lambda: _tables(text, run.config), problems, default={})
    known = [evaluation for evaluation in evaluations if evaluation is not None]
    return RunSummary(
        name=run.root.resolve().name,
        root=run.root,
        config=config,
        config_text=text,
        provenance=read(run.provenance, lambda: load_record(Provenance, run.provenance), default=None),
        plan=read(run.plan, lambda: _plain(run.plan), default={}),
        status=_attempt(run.status, problems, default=Status()),
        experts=read(run.experts, lambda: load_record(ExpertsUsed, run.experts), default=None),
        rows=tuple(read(run.metrics, lambda: read_rows(run.metrics), default=[])),
        artifact=artifact(run.synthetic),
        selected=artifact(run.variant("selected")),
        frames=_frames(run.frames),
        evaluations=tuple(sorted(known, key=lambda one: _place(one, config.get("protocols", [])))),
        has_checkpoint=run.checkpoint.exists(),
        problems=tuple(problems),
    )


def _place(evaluation: Evaluation, wanted: Sequence[str]) -> tuple[bool, bool, int, bool, str]:
    """Return what evaluations are sorted by: those to be quoted come first, as the recipe has them."""
    name = evaluation.name
    asked = wanted.index(name) if name in wanted else len(wanted)
    return evaluation.protocol.peak, parted(name)[1] is not None, asked, name != "default", name


def _attempt(reader: Callable[[], T], problems: list[str], *, default: T) -> T:
    try:
        return reader()
    except UsageError as error:
        problems.append(str(error))
        return default


def _evaluation(path: Path) -> Callable[[], Evaluation | None]:
    return lambda: load_record(Evaluation, path)


def _tables(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CorruptFileError(f"{path}: not a TOML file ({error})") from error


def _plain(path: Path) -> dict[str, Any]:
    data = read_json(path)
    return data if isinstance(data, dict) else {"plan": data}


def _frames(folder: Path) -> tuple[Frame, ...]:
    found = ((_FRAME.fullmatch(path.name), path) for path in folder.glob("*.png"))
    frames = [Frame(int(match[1]), path) for match, path in found if match]
    return tuple(sorted(frames, key=lambda frame: frame.iteration))
