"""A run that has been opened: its directory, configuration and plan, and what they stand for, loaded when needed."""

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from datadistill.augment import Augment, build_augment
from datadistill.config import RunConfig, load_stored, to_toml
from datadistill.core.errors import RunError, UsageError
from datadistill.core.randomness import Randomness
from datadistill.data import Preprocess, RealData, default_data_root, fit_preprocess, load_dataset
from datadistill.data.sampling import check_enough
from datadistill.data.split import hold_out
from datadistill.networks import FlatNetwork, build_network
from datadistill.runtime.atomic import locked, write_text
from datadistill.runtime.device import choose_device, peak_bytes, set_up, usable_cores
from datadistill.runtime.executor import Executor, InProcess, SpawnPool
from datadistill.runtime.plan import Plan
from datadistill.runtime.progress import Reporter, Silent
from datadistill.runtime.provenance import collect_provenance
from datadistill.runtime.ray_cluster import RayCluster
from datadistill.runtime.records import StageState, load_record, save_record
from datadistill.runtime.rundir import RunDir

_STAGES = ("experts", "distill", "evaluate", "report")
_INTERRUPTED = "an interrupted or failed start"
_RESUMED = {"running": _INTERRUPTED, "failed": _INTERRUPTED, "stopped": "an early stop"}


@dataclass
class Ending:
    """How a stage ends when nothing goes wrong: ``done``, unless it says ``stopped``."""

    state: StageState = "done"


@dataclass
class Session:
    """One run, opened.

    Attributes:
        run: Its directory.
        config: Its configuration, as written there.
        plan: Its plan, as written there.
        reporter: Where progress is shown.
        memory_limit: Bytes the distillation may use in all, program and data included, where somebody set a limit.
        own_data: Data handed over by the caller, instead of a data set that is read.
        shapes_only: Whether nothing but times and sizes is asked for, so that no whitening has to be fitted.
    """

    run: RunDir
    config: RunConfig
    plan: Plan
    reporter: Reporter
    memory_limit: int | None = None
    own_data: RealData | None = None
    shapes_only: bool = False

    @cached_property
    def device(self) -> torch.device:
        """The device of the plan."""
        return choose_device(self.plan.device)

    @cached_property
    def data(self) -> RealData:
        """The real data, validation held out, on the device.

        Raises:
            DataError: If the data cannot be read.
            RunError: If they are not those the run was started on.
        """
        root, held_out = Path(self.plan.data_root), self.config.validation
        if self.own_data is not None:
            data = hold_out(self.own_data, held_out)
        else:
            data = load_dataset(self.config.dataset, root, validation=held_out, reporter=self.reporter)
        if self.plan.data_checksum is None:
            self.change_plan(data_checksum=data.card.checksum)
        elif self.plan.data_checksum != data.card.checksum:
            raise RunError(f"{self.run.root}: was started on other data than '{data.card.name}' is now")
        return data.to(self.device)

    @cached_property
    def preprocess(self) -> Preprocess:
        """The map from bytes to network space, fitted on the training split."""
        cache = Path(self.plan.store) / "whitening"
        fitted = fit_preprocess(self.config.preprocess, self.data, cache, shapes_only=self.shapes_only)
        return fitted.to(self.device)

    @cached_property
    def teacher_data(self) -> RealData:
        """What teachers are trained on: the data of the run, or the set the recipe names."""
        name, root = self.config.teachers.dataset, Path(self.plan.data_root)
        if name in (None, self.config.dataset):
            return self.data
        data = load_dataset(str(name), root, validation=self.config.validation, reporter=self.reporter)
        return data.to(self.device)

    @cached_property
    def teacher_preprocess(self) -> Preprocess:
        """The map from bytes to the space in which teachers are trained."""
        wanted = self.config.teachers.preprocess
        if self.teacher_data is self.data and wanted in (None, self.config.preprocess):
            return self.preprocess
        cache = Path(self.plan.store) / "whitening"
        return fit_preprocess(wanted or self.config.preprocess, self.teacher_data, cache).to(self.device)

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
        """What trains networks where they are not trained side by side."""
        plan, cluster = self.plan, self.config.cluster
        if cluster is not None:
            gpus = 1.0 if self.device.type == "cuda" else 0.0
            return RayCluster(cluster, plan.workers, plan.threads, gpus, precision=plan.precision)
        return SpawnPool(plan.workers, plan.threads, plan.precision) if plan.workers > 1 else InProcess()

    def build_network(self, name: str) -> FlatNetwork:
        """Return a network by name, for the shape and classes of the data."""
        return build_network(name, self.data.card.shape, self.data.classes)

    def check_networks(self, protocols: Sequence[str]) -> None:
        """Refuse protocols whose evaluation network does not fit the images.

        Raises:
            UsageError: If there is one; names the network.
        """
        for name in self.config.evaluation_networks(protocols):
            try:
                self.build_network(name)
            except UsageError as error:
                raise UsageError(f"{name}, an evaluation network: {error}") from error

    def change_plan(self, **changes: object) -> None:
        """Write a decision into the plan; a run that has not begun has no file for it yet."""
        self.plan = replace(self.plan, **changes)  # type: ignore[arg-type]
        if self.run.plan.exists():
            save_record(self.run.plan, self.plan)

    def locked(self) -> AbstractContextManager[None]:
        """Return what keeps other processes off the run for as long as it is entered.

        A group of a divided run is waited for: workers of a driver that was killed outlive it by a moment.

        Raises:
            RunError: If another process is working on it.
        """
        return locked(self.run.root / ".lock", wait=self.config.part is not None)

    @contextmanager
    def stage(self, name: str) -> Iterator[Ending]:
        """Record the state, the time and the memory of a stage; a failure is recorded and goes on its way.

        Yields how it will end, for the stage to change.

        Raises:
            RunError: If another process is working on the run.
        """
        with self.locked():
            before = self.run.status().stages.get(name)
            spent = before.seconds if before is not None and before.state != "done" else 0.0
            resumed = _RESUMED.get(before.state) if before is not None else None
            self.run.update_stage(name, state="running", resumed_from=resumed, error=None)
            begun, ending = perf_counter(), Ending()
            try:
                yield ending
            except BaseException as error:
                line = str(error).splitlines()[0] if str(error) else type(error).__name__
                self.run.update_stage(name, state="failed", error=line, seconds=_since(begun, spent))
                raise
            peak = peak_bytes(self.device)
            self.run.update_stage(name, state=ending.state, seconds=_since(begun, spent), peak_bytes=peak)


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
    data: RealData | None = None,
    shapes_only: bool = False,
) -> Session:
    """Create a run directory, or open one that is there.

    Args:
        out: The run directory.
        config: The configuration; ``None`` to take the one in the directory.
        resume: Whether an existing directory may be gone on with.
        device: ``auto``, ``cpu``, ``cuda`` …; an existing run keeps its own.
        data_root: Where data sets are; absent for ``$DATADISTILL_DATA`` or ``./data``.
        memory_limit: Bytes the distillation may use, program and data included.
        reporter: Where progress is shown.
        data: The caller's own data; absent for the data set of the configuration.
        shapes_only: Whether the run is opened to be planned, not to be run.

    Raises:
        RunError: If the directory is there and may not be used, or holds another configuration.
    """
    run = RunDir(out)
    if run.config.exists():
        stored = read_config(run)
        if config is not None and not resume:
            raise RunError(f"{out}: is there already; go on with --resume, or choose another --out")
        if config is not None and config != stored:
            difference = _difference(stored, config)
            raise RunError(f"{out}: was started with other settings ({difference}); choose another --out")
        config = stored
    elif config is None:
        raise RunError(f"{out}: not a run directory (it has no config.toml)")
    elif out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise RunError(f"{out}: is not empty and not a run directory; choose another --out")
    started = run.plan.exists()
    plan = load_record(Plan, run.plan) if started else _first_plan(run, config, choose_device(device))
    if data_root is not None:
        plan = replace(plan, data_root=str(_absolute(data_root)))
    set_up(plan.threads, plan.precision)
    session = Session(run, config, plan, reporter or Silent(), memory_limit, data, shapes_only)
    if not started:
        _start(session)
    return session


def _absolute(path: Path) -> Path:
    """Return a path that means the same from any folder the run is gone on with."""
    return path.expanduser().absolute()


def store_of(run: Path, config: RunConfig) -> Path:
    """Return the store of a run: the one it names, else ``experts`` beside the run directory."""
    return _absolute(Path(config.store) if config.store else run.parent / "experts")


def _first_plan(run: RunDir, config: RunConfig, device: torch.device) -> Plan:
    return Plan(
        device=str(device),
        threads=config.threads or max(1, usable_cores() // config.workers),
        workers=config.workers,
        precision=config.engine.precision,
        data_root=str(_absolute(default_data_root())),
        store=str(store_of(run.root, config)),
    )


def _start(session: Session) -> None:
    """Write the first files of a run, the plan last; what cannot work is refused before anything is written."""
    run, config = session.run, session.config
    _ = session.data, session.preprocess, session.network
    session.check_networks(config.protocols)
    card = session.data.card
    tiles = config.texture.tiles if config.texture is not None and config.initial == "real" else 1
    check_enough(session.data.train.labels, card.classes, config.ipc, card.name, each=tiles)
    write_text(run.config, to_toml(config))
    save_record(run.provenance, collect_provenance(config.seed, session.device))
    for stage in _STAGES:
        run.update_stage(stage)
    save_record(run.plan, session.plan)
    for warning in (_batch_norm_warning(session), _inexact_warning(config)):
        if warning is not None:
            session.reporter.say(warning)


def _batch_norm_warning(session: Session) -> str | None:
    """Say what is wrong with batch norm where a batch holds about one image per class; None where nothing is."""
    config, classes = session.config, session.data.classes
    networks = map(
        session.build_network, dict.fromkeys((config.network, *config.evaluation_networks(config.protocols)))
    )
    names = [network.name for network in networks if network.statistics_count]
    sizes = [config.protocol(name).batch_size for name in config.protocols]
    sizes += [config.method.unrolled.batch(config.ipc * classes)] if config.method.unrolled else []
    batch = min(config.ipc * classes, *sizes) * config.windows
    if not names or batch > classes:
        return None
    return (
        f"warning: {' and '.join(names)}: batch norm over {batch} images of {classes} classes: statistics of about one "
        "image per class do not describe real images, and accuracy suffers; take instancenorm or a larger ipc"
    )


def _inexact_warning(config: RunConfig) -> str | None:
    """Say that a method was told to take another rule than the gradient; None where it was not."""
    rule = getattr(config.method, "rule", "exact")
    if rule == "exact":
        return None
    return (
        f"warning: rule '{rule}' is not the gradient of the matching loss; it is there to compare with published "
        "numbers. The exact gradient needs no more memory: leave 'rule' out"
    )


def read_config(run: RunDir, settings: tuple[str, ...] = ()) -> RunConfig:
    """Return the configuration of a run, with ``key=value`` changes if there are any.

    Raises:
        ConfigError: If it cannot be read, or a key or value is not valid.
    """
    return load_stored(run.config, settings)


def _difference(stored: RunConfig, asked: RunConfig) -> str:
    """Name the first setting in which two configurations differ."""
    there, here = (dict(_settings(tomllib.loads(to_toml(config)))) for config in (stored, asked))
    key = next(key for key in [*there, *here] if there.get(key) != here.get(key))
    return f"{key} was {there.get(key, 'not set')}, now {here.get(key, 'not set')}"


def _settings(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield every setting of a table and the tables below it, by its dotted key."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
