"""A run that has been opened: its directory, configuration and plan, and what they stand for, loaded when needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter

import torch

from datadistill.augment import Augment, build_augment
from datadistill.config import RunConfig, from_toml, to_toml
from datadistill.core.errors import ConfigError, RunError
from datadistill.core.randomness import Randomness
from datadistill.data import Preprocess, RealData, fit_preprocess, load_dataset
from datadistill.networks import FlatNetwork, build_network
from datadistill.runtime.atomic import write_text
from datadistill.runtime.device import choose_device, peak_bytes, set_up, usable_cores
from datadistill.runtime.executor import Executor, InProcess, SpawnPool
from datadistill.runtime.plan import Plan
from datadistill.runtime.progress import Reporter, Silent
from datadistill.runtime.provenance import collect_provenance
from datadistill.runtime.records import load_record, save_record
from datadistill.runtime.rundir import RunDir

_STAGES = ("experts", "distill", "evaluate", "report")


@dataclass
class Session:
    """One run, opened.

    Attributes:
        run: Its directory.
        config: Its configuration, as written there.
        plan: Its plan, as written there.
        reporter: Where progress is shown.
        memory_limit: Bytes the distillation may use, where somebody set a limit.
    """

    run: RunDir
    config: RunConfig
    plan: Plan
    reporter: Reporter
    memory_limit: int | None = None

    @cached_property
    def device(self) -> torch.device:
        """The device of the plan."""
        return choose_device(self.plan.device)

    @cached_property
    def data(self) -> RealData:
        """The real data, validation held out, on the device."""
        root = Path(self.plan.data_root)
        data = load_dataset(self.config.dataset, root, validation=self.config.validation, reporter=self.reporter)
        return data.to(self.device)

    @cached_property
    def preprocess(self) -> Preprocess:
        """The map from bytes to network space, fitted on the training split."""
        cache = Path(self.plan.store) / "whitening"
        return fit_preprocess(self.config.preprocess, self.data, cache).to(self.device)

    @cached_property
    def network(self) -> FlatNetwork:
        """The student network."""
        return self.build_network(self.config.network)

    @cached_property
    def augment(self) -> Augment:
        """The augmentation of the run."""
        return build_augment(self.config.augment)

    @property
    def rng(self) -> Randomness:
        """The named streams of the run."""
        return Randomness(self.config.seed)

    @property
    def executor(self) -> Executor:
        """What runs experts and evaluation trainings."""
        return SpawnPool(self.plan.workers, self.plan.threads) if self.plan.workers > 1 else InProcess()

    def build_network(self, name: str) -> FlatNetwork:
        """Return a network by name, for the shape and classes of the data."""
        return build_network(name, self.data.card.shape, self.data.classes)

    def change_plan(self, **changes: object) -> None:
        """Write a decision into the plan."""
        self.plan = replace(self.plan, **changes)  # type: ignore[arg-type]
        save_record(self.run.plan, self.plan)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the state, the time and the memory of a stage; a failure is recorded and goes on its way."""
        before = self.run.status().stages.get(name)
        again = before is not None and before.state in ("running", "failed")
        spent = before.seconds if before is not None and before.state != "done" else 0.0
        resumed = "an interrupted or failed start" if again else None
        self.run.update_stage(name, state="running", resumed_from=resumed, error=None)
        begun = perf_counter()
        try:
            yield
        except BaseException as error:
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.run.update_stage(name, state="failed", error=line, seconds=_since(begun, spent))
            raise
        peak = peak_bytes(self.device)
        self.run.update_stage(name, state="done", error=None, seconds=_since(begun, spent), peak_bytes=peak)


def _since(begun: float, spent: float) -> float:
    return round(spent + perf_counter() - begun, 3)


def open_run(
    out: Path,
    config: RunConfig | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
    data_root: Path | None = None,
    memory_limit: int | None = None,
    reporter: Reporter | None = None,
) -> Session:
    """Create a run directory, or open one that is there.

    Args:
        out: The run directory.
        config: The configuration; ``None`` to take the one in the directory.
        resume: Whether an existing directory may be gone on with.
        device: ``auto``, ``cpu``, ``cuda`` …; an existing run keeps its own.
        data_root: Where data sets are; absent for ``$DATADISTILL_DATA`` or ``./data``.
        memory_limit: Bytes the distillation may use.
        reporter: Where progress is shown.

    Raises:
        RunError: If the directory is there and may not be used, or holds another configuration.
    """
    run, shown = RunDir(out), reporter or Silent()
    if not run.config.exists():
        if config is None:
            run.require()
        if out.exists() and any(out.iterdir()):
            raise RunError(f"{out}: is not empty and not a run directory; choose another --out")
        assert config is not None
        return _create(run, config, device, data_root, memory_limit, shown)
    stored = from_toml(run.config.read_text(), source=str(run.config))
    if config is not None and not resume:
        raise RunError(f"{out}: is there already; go on with --resume, or choose another --out")
    if config is not None and config != stored:
        raise RunError(f"{out}: was started with other settings ({_difference(stored, config)}); choose another --out")
    if not run.plan.exists():  # killed between the first two files
        return _create(run, stored, device, data_root, memory_limit, shown)
    plan = load_record(Plan, run.plan)
    if data_root is not None:
        plan = replace(plan, data_root=str(data_root))
    set_up(choose_device(plan.device), plan.threads)
    return Session(run, stored, plan, shown, memory_limit)


def _create(
    run: RunDir, config: RunConfig, device: str, data_root: Path | None, memory_limit: int | None, reporter: Reporter
) -> Session:
    chosen = choose_device(device)
    threads = max(1, usable_cores() // config.workers)
    set_up(chosen, threads)
    plan = Plan(
        device=str(chosen),
        threads=threads,
        workers=config.workers,
        data_root=str(data_root or os.environ.get("DATADISTILL_DATA", "data")),
        store=config.store or str(run.root.parent / "experts"),
    )
    write_text(run.config, to_toml(config))
    save_record(run.provenance, collect_provenance(config.seed, chosen))
    for stage in _STAGES:
        run.update_stage(stage)
    save_record(run.plan, plan)
    return Session(run, config, plan, reporter, memory_limit)


def _difference(stored: RunConfig, asked: RunConfig) -> str:
    """Name the first setting in which two configurations differ."""
    pairs = zip(to_toml(stored).splitlines(), to_toml(asked).splitlines(), strict=False)
    for there, here in pairs:
        if there != here:
            return f"there '{there.strip()}', now '{here.strip()}'"
    raise ConfigError("the configurations differ in their last keys")
