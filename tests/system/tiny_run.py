"""The smallest complete run: settings of a recipe, one finished run for the whole session, copies of it."""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import datadistill as dd
from datadistill.runtime.rundir import RunDir

RECIPE = "mtt_digits_ipc1"
TINY = (
    "validation=60",
    "network=convnet-1-w8",
    "augment=dsa",
    "iterations=20",
    "method.mtt.student_steps=3",
    "method.mtt.max_start_epoch=1",
    "method.mtt.expert_epochs=1",
    "method.mtt.image_lr=10",
    "experts.count=2",
    "experts.batch_size=256",
    "evaluate.networks=2",
    "evaluate.epochs=5",
    "evaluate.random_draws=2",
    "full.training.epochs=1",
    "full.training.batch_size=256",
    "watch.probe_every=10",
    "watch.probe_networks=1",
    "watch.probe_epochs=5",
    "watch.checkpoint_every=10",
    "watch.frame_every=10",
    "engine.strategy=adjoint",
    "engine.compiled=no",
)
"""A run of a second or two; nothing in it depends on a timing."""


def flags(*settings: str) -> list[str]:
    """Return the tiny settings, and more, as arguments of the command line."""
    return [word for setting in (*TINY, *settings) for word in ("--set", setting)]


@functools.cache
def finished() -> RunDir:
    """Return a run with all stages done, made once; read it, copy it, never change it."""
    folder = Path(tempfile.mkdtemp(prefix="datadistill_tests_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return dd.run(RECIPE, *TINY, out=folder / "runs" / "tiny", device="cpu").run


def copy_of_finished(where: Path, *, experts: bool = False) -> RunDir:
    """Return a copy of the finished run below ``where``, with experts of its own if asked for."""
    source = finished().root
    run = RunDir(Path(shutil.copytree(source, where / "runs" / "tiny")))
    if experts:
        shutil.copytree(source.parent / "experts", where / "runs" / "experts")
        change_json(run.plan, store=str(where / "runs" / "experts"))
    return run


def change_json(path: Path, **changes: object) -> None:
    """Change top-level keys of a JSON file; ``None`` removes one."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def set_stage(run: RunDir, stage: str, state: str) -> None:
    """Write another state of a stage into ``status.json``."""
    stages: dict[str, Any] = json.loads(run.status_file.read_text())["stages"]
    stages[stage]["state"] = state
    change_json(run.status_file, stages=stages)


def flip_byte(path: Path, position: int = -1) -> None:
    """Damage one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(bytes(content))


def contents(root: Path) -> dict[str, bytes]:
    """Return every file below a folder, by relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
