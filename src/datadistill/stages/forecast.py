"""What a recipe will need on this machine: memory, disk and time, from the real data and a few timed steps."""

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from datadistill.config import RunConfig
from datadistill.core.structure import unstructure
from datadistill.evaluate.protocol import Protocol
from datadistill.evaluate.run import real_examples, synthetic_examples
from datadistill.experts import ExpertTask, Teacher, TeacherPool
from datadistill.methods import Problem, step
from datadistill.methods.base import FORWARDS_PER_REVERSE, begin
from datadistill.networks import FlatNetwork
from datadistill.runtime.device import occupied_bytes, peak_bytes
from datadistill.runtime.ray_cluster import LOCAL
from datadistill.stages.distill import bare_problem
from datadistill.stages.experts import expert_task, full_task
from datadistill.stages.groups import one_group
from datadistill.stages.memory import estimate_method
from datadistill.stages.planning import decide, iteration_forwards, planned_peak, seconds_per_step
from datadistill.stages.session import Session, open_run
from datadistill.stages.teachers import teacher_tasks
from datadistill.stages.training_plan import evaluation_executor, experts_together, judging_bytes
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.training.accuracy import accuracy
from datadistill.training.fit import Examples, Fitted, fit
from datadistill.training.schedules import TrainingRecipe

_FLOAT = 4
_TIMED_STEPS = 3


@dataclass(frozen=True)
class ForecastRow:
    """One stage: seconds, bytes, and what they are for."""

    stage: str
    seconds: float
    memory_bytes: int
    disk_bytes: int
    what: str


@dataclass(frozen=True)
class Forecast:
    """What a recipe will need.

    Attributes:
        device: Where it was timed.
        rows: One per stage.
        note: How the figures came about.
    """

    device: str
    rows: tuple[ForecastRow, ...]
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"device": self.device, "stages": [unstructure(row) for row in self.rows], "note": self.note}


def forecast(config: RunConfig, *, device: str, data_root: Path | None, memory_limit: int | None) -> Forecast:
    """Return what a recipe will need; nothing is written but a temporary folder.

    Raises:
        DataError: If the data set is not there.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = open_run(
            Path(folder) / "run",
            config,
            device=device,
            data_root=data_root,
            memory_limit=memory_limit,
            shapes_only=True,
        )
        rows = [*_experts(session), _distill(session), *_evaluate(session)]
    return Forecast(session.plan.device, tuple(rows), "extrapolated from a few timed steps on this machine")


def _experts(session: Session) -> list[ForecastRow]:
    config, rows = session.config, []
    p = session.network.parameter_count
    if config.trains_experts:
        task = expert_task(session)
        seconds = _real_seconds(session, task, config.experts.count)
        disk = config.experts.count * (task.recipe.training.epochs_run + 1) * p * _FLOAT
        what = f"{config.experts.count} experts x {task.recipe.training.epochs_run} epochs"
        rows.append(ForecastRow("experts", seconds, 0, disk, what))
    if "teachers" in config.needs:
        count = config.teachers.count
        for task in teacher_tasks(session):
            epochs = task.recipe.training.epochs_run
            disk = count * len(task.recipe.kept) * task.network.parameter_count * _FLOAT
            what = f"{count} teachers x {epochs} epochs, {task.network.name}"
            rows.append(ForecastRow("teachers", _real_seconds(session, task, count), 0, disk, what))
    if config.full.networks and not all(config.protocol(name).peak for name in config.protocols):
        task = full_task(session, session.config.evaluate.network or session.config.network)
        seconds = _real_seconds(session, task, config.full.networks)
        disk = config.full.networks * task.network.parameter_count * _FLOAT
        what = f"{config.full.networks} x {task.recipe.training.epochs_run} epochs, once per data set and network"
        rows.append(ForecastRow("full set", seconds, 0, disk, what))
    return rows


def _real_seconds(session: Session, task: ExpertTask, count: int) -> float:
    """Return the time of training networks on real images, as many at once as there will be."""
    together = experts_together(session, task, count)
    with _threads(together):
        each = epoch_seconds(session, task.network, task.train, task.recipe.training)
    return each * count * task.recipe.training.epochs_run / (together * session.config.workers)


@contextmanager
def _threads(together: int) -> Iterator[None]:
    """Compute with the threads that each of so many networks has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if together > 1 else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _iterated(session: Session) -> ForecastRow:
    """Return what distilling takes by a method that differentiates through no training, from its first iterations.

    Teachers that it needs have not been trained, and cost as much untrained. Terms are not counted.
    """
    config, method, rng = session.config, session.config.method, session.rng.child("forecast")
    problem = bare_problem(session)
    if "teachers" in method.needs:
        names = config.teachers.networks or (config.network,)
        pool = [_untrained(session, name) for name in names for _ in range(config.teachers.count)]
        problem = replace(problem, teachers=TeacherPool(tuple(pool)))
    state = begin(method, problem, rng)
    begun = time.perf_counter()
    for i in range(1, _TIMED_STEPS + 1):
        step(method, problem, state, rng.at(i))
    state.images.sum().item()  # wait for the device
    seconds = (time.perf_counter() - begun) / _TIMED_STEPS * config.iterations + _probes(session, problem)
    kept = len(config.watch.kept(config.iterations + 1)) * problem.initial_images.nbytes
    what = f"{config.iterations:,} iterations" + (", without terms" if config.terms else "")
    return ForecastRow("distill", seconds, peak_bytes(session.device), kept, what)


def _untrained(session: Session, name: str) -> Teacher:
    network, device = session.build_network(name), session.device
    params = network.initial(session.rng.stream("forecast")).to(device)
    return Teacher(network, params, network.initial_statistics().to(device))


def _distill(session: Session) -> ForecastRow:
    """Return the row of distilling; that of a divided run is made of a group's."""
    config = session.config
    if config.groups == 1:
        return _distill_whole(session)
    together = min(config.workers, config.groups)
    sharing = together if config.cluster in (None, LOCAL) else 1
    return divided(_distill_whole(one_group(session)), config.groups, together, sharing=sharing)


def divided(one: ForecastRow, groups: int, together: int, *, sharing: int) -> ForecastRow:
    """Return the row of all groups.

    Args:
        one: The row of a group.
        groups: How many there are.
        together: How many run at once.
        sharing: How many of these share the memory that is forecast.
    """
    seconds = one.seconds * math.ceil(groups / together)
    what = f"{groups} groups, {together} at once, each {one.what}"
    return replace(
        one, seconds=seconds, memory_bytes=sharing * one.memory_bytes, disk_bytes=2 * groups * one.disk_bytes, what=what
    )


def _distill_whole(session: Session) -> ForecastRow:
    config, unrolled = session.config, session.config.method.unrolled
    if unrolled is None:
        return _iterated(session)
    problem = bare_problem(session)
    n = len(problem.initial_images)
    batch = unrolled.batch(n)
    seen = batch * config.windows
    shape, classes = session.data.card.shape, session.data.classes
    need = estimate_method(session.network, shape, classes, unrolled, images=n, windows=config.windows)
    there = occupied_bytes(session.device)
    seconds = seconds_per_step(decide(session, problem), problem, batch)
    students = f"{unrolled.trainings} x " if unrolled.trainings > 1 else ""
    what = (
        f"{config.iterations:,} iterations of {students}{unrolled.steps} steps on {seen} images; "
        f"{session.plan.strategy}: {session.plan.reason}; {there / 2**30:.2f} GiB are program and data"
    )
    memory = there + planned_peak(need, vars(session.plan), gpu=session.device.type == "cuda")
    steps = iteration_forwards(unrolled, seen) / (
        FORWARDS_PER_REVERSE * seen
    )  # what takes as long as so many whole steps
    total = seconds * steps * config.iterations + _probes(session, problem)
    kinds = 1 + len(config.method.variant_names)
    kept = kinds * len(config.watch.kept(config.iterations + 1)) * problem.initial_images.nbytes
    return ForecastRow("distill", total, memory, kept, what)


def _evaluate(session: Session) -> list[ForecastRow]:
    config, problem, rows = session.config, bare_problem(session), []
    for name in config.protocols:
        epochs = config.protocol(name).training(1.0).epochs_run
        what = f"{config.trainings(name)} networks x {epochs} epochs, protocol {name}"
        seconds = judging_seconds(session, problem, name)
        together = min((session.plan.side_by_side or 1) * config.workers, config.trainings(name))
        memory = occupied_bytes(session.device) + together * judging_bytes(session, name)
        rows.append(ForecastRow("evaluate", seconds, memory, 0, what))
    return rows


def judging_seconds(session: Session, problem: Problem, name: str) -> float:
    """Return the time of one protocol: a training and a test for every network, as many at once as there will be."""
    config = session.config
    each = _trial_seconds(session, problem, config.protocol(name))
    return each * config.trainings(name) / ((session.plan.side_by_side or 1) * config.workers)


def _probes(session: Session, problem: Problem) -> float:
    """Return the time of all probes: networks of one train side by side, but never in other processes."""
    config, watch = session.config, session.config.watch
    if not config.probes:
        return 0.0
    each = _trial_seconds(session, problem, replace(config.evaluate, epochs=watch.probe_epochs, split="validation"))
    return each * config.probes / min(session.plan.side_by_side or 1, watch.probe_networks)


def _trial_seconds(session: Session, problem: Problem, protocol: Protocol) -> float:
    """Return the time of training and testing one network, with the threads it will have."""
    network = session.build_network(protocol.network or session.config.network)
    params = network.initial(session.rng.stream("forecast")).to(session.device)
    test = real_examples(session.data, session.preprocess, protocol.split)
    evaluation_executor(session)  # decides how many at once
    with _threads(session.plan.side_by_side or 1):
        each = _training_seconds(session, network, problem, protocol.training(protocol.fallback_lr))
        begun = time.perf_counter()
        accuracy(network, params, network.initial_statistics().to(params), test)
        return each + time.perf_counter() - begun


def _training_seconds(session: Session, network: FlatNetwork, problem: Problem, training: TrainingRecipe) -> float:
    """Return the time of one evaluation training."""
    examples = synthetic_examples(SyntheticSet(problem.initial_images, problem.initial_targets), problem.texture)
    return epoch_seconds(session, network, examples, training) * training.epochs_run


def epoch_seconds(session: Session, network: FlatNetwork, examples: Examples, training: TrainingRecipe) -> float:
    """Return the time of one epoch of a network, from a few steps on as many images as they need."""
    size = min(training.batch_size, len(examples))
    few = min(len(examples), size * _TIMED_STEPS)
    part = replace(examples, images=examples.images[:few], targets=examples.targets[:few])
    params = network.initial(session.rng.stream("forecast")).to(session.device)
    short = TrainingRecipe(epochs=2 * _TIMED_STEPS, batch_size=training.batch_size, lr=1e-6, gsam=training.gsam)
    begun, fastest = time.perf_counter(), float("inf")
    for fitted in fit(network, Fitted.start(network, params), part, short, session.augment, session.rng):
        fitted.loss.item()  # wait for the device before the clock is read
        fastest, begun = min(fastest, time.perf_counter() - begun), time.perf_counter()
    return fastest * len(examples) / few
