"""What a recipe will need on a GPU that is not here: memory as the plan decides it, time by counting."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from datadistill.config import RunConfig
from datadistill.evaluate.protocol import Protocol
from datadistill.methods.base import FORWARDS_PER_GRADIENT, FORWARDS_PER_REVERSE, WithoutStudents
from datadistill.networks import FlatNetwork
from datadistill.runtime.accelerators import Accelerator
from datadistill.runtime.ray_cluster import LOCAL
from datadistill.stages.forecast import Forecast, ForecastRow, divided
from datadistill.stages.groups import one_group
from datadistill.stages.memory import estimate, estimate_method
from datadistill.stages.planning import (
    Machine,
    choose,
    forward_operations,
    iteration_forwards,
    planned_peak,
    wanted_engine,
)
from datadistill.stages.session import Session, open_run
from datadistill.stages.training_plan import judging_bytes

_EFFICIENCY = 0.25
"""Part of a data sheet's peak that convolutions of these sizes reach, as we assume. Not measured on the cards here."""

_FLOAT = 4


def forecast_gpu(config: RunConfig, gpu: Accelerator, *, data_root: Path | None, memory_limit: int | None) -> Forecast:
    """Return what a recipe will need on ``gpu``; nothing is written but a temporary folder.

    Args:
        config: The recipe.
        gpu: The card.
        data_root: Where data sets are.
        memory_limit: Bytes the distillation may use; absent for what the card has.

    Raises:
        DataError: If the data set is not there.
        UsageError: If one image at a time does not fit.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = open_run(Path(folder) / "run", config, device="cpu", data_root=data_root, shapes_only=True)
        rows = _rows(session, gpu, memory_limit)
    seconds = f"operations counted / ({_EFFICIENCY:.0%} of the data sheet's peak): an estimate, nothing was timed"
    if config.method.unrolled is None:
        seconds += f"; the memory that '{config.method_name}' needs to distil is not estimated"
    return Forecast(gpu.name, tuple(rows), seconds)


@dataclass
class _Counting:
    """Times of a card, by counting what networks compute and move.

    Attributes:
        session: Whose networks and data.
        gpu: The card.
    """

    session: Session
    gpu: Accelerator
    known: dict[str, tuple[FlatNetwork, int, int]] = field(default_factory=dict)

    def seconds(self, network: str, images: int, forwards: int, *, moved: int = 1, student: bool = False) -> float:
        """Return the longer of arithmetic and of moving the graph through memory."""
        _, forward, graph = self._of(network)
        precision = self.session.config.engine.precision
        rate = self.gpu.operations(precision if student or precision == "float32" else "tf32")
        return images * max(forwards * forward / rate, moved * graph / (1e9 * self.gpu.bandwidth)) / _EFFICIENCY

    def parameters(self, network: str) -> int:
        """Return the length of a network's weight vector."""
        return self._of(network)[0].parameter_count

    def _of(self, network: str) -> tuple[FlatNetwork, int, int]:
        """Return a network, the operations of a forward pass of one image, and the bytes of its graph."""
        if network not in self.known:
            built, card = self.session.build_network(network), self.session.data.card
            graph = estimate(built, card.shape, len(card.classes), batch=1, steps=1).step
            self.known[network] = built, forward_operations(built, card.shape), graph
        return self.known[network]


def _rows(session: Session, gpu: Accelerator, memory_limit: int | None) -> list[ForecastRow]:
    count = _Counting(session, gpu)
    distill = _all_groups(count, memory_limit) if session.config.groups > 1 else _distill(count, memory_limit)
    return [*_training(count), distill, *(_evaluate(count, name) for name in session.config.protocols)]


def _all_groups(count: _Counting, memory_limit: int | None) -> ForecastRow:
    """Return the row of a divided run: on a cluster every worker has a card, on one machine they take turns at one."""
    config = count.session.config
    one, workers = replace(count, session=one_group(count.session)), min(config.workers, config.groups)
    together, sharing = (1, workers) if config.cluster in (None, LOCAL) else (workers, 1)
    return divided(_distill(one, memory_limit), config.groups, together, sharing=sharing)


def _training(count: _Counting) -> Iterator[ForecastRow]:
    """Yield a row for the experts and for the full set, where there are any."""
    config, real = count.session.config, len(count.session.data.train)
    for name, network, nets, epochs, snapshots in _trained(config):
        disk = nets * snapshots * count.parameters(network) * _FLOAT
        passes = 2 if name == "experts" and config.experts.gsam else 1
        time = count.seconds(network, passes * real * nets * epochs, FORWARDS_PER_GRADIENT)
        yield ForecastRow(name, time, 0, disk, f"{nets} networks x {epochs} epochs")


def _distill(count: _Counting, memory_limit: int | None) -> ForecastRow:
    session, config, method = count.session, count.session.config, count.session.config.method
    if isinstance(method, WithoutStudents):
        return _iterate(count, method)
    unrolled = method.unrolled
    n = config.ipc * session.data.classes
    batch = unrolled.batch(n) * config.windows
    shape, windows = session.data.card.shape, config.windows
    need = estimate_method(session.network, shape, session.data.classes, unrolled, images=n, windows=windows)
    occupied = _data_bytes(session)
    machine = Machine(max(0, count.gpu.usable_bytes - occupied), int(count.gpu.memory_gib * 2**30), gpu=True)
    if memory_limit is not None:
        machine = Machine.limited(memory_limit, occupied, gpu=True)
    plan = wanted_engine(config, compiled=config.engine.compiled != "no")
    if config.engine.strategy == "auto":
        plan |= choose(need, machine, plan)
    steps = unrolled.steps * unrolled.trainings
    wholes = iteration_forwards(unrolled, batch) * config.iterations // FORWARDS_PER_REVERSE
    time = count.seconds(config.network, wholes, FORWARDS_PER_REVERSE, moved=4, student=True)
    time += _probed(count)
    what = f"{config.iterations:,} iterations of {steps} steps on {batch} images; {plan['strategy']}: {plan['reason']}"
    return ForecastRow("distill", time, occupied + planned_peak(need, plan, gpu=True), 0, what)


def _iterate(count: _Counting, method: WithoutStudents) -> ForecastRow:
    """Return the row of a method that differentiates through no training, without terms and without its memory."""
    config, classes = count.session.config, count.session.data.classes
    passes = method.forwards(config.ipc * classes, classes)
    time = count.seconds(config.network, config.iterations, passes, moved=passes // FORWARDS_PER_GRADIENT)
    time += _probed(count)
    what = f"{config.iterations:,} iterations" + (", without terms" if config.terms else "")
    return ForecastRow("distill", time, 0, 0, what)


def _probed(count: _Counting) -> float:
    config = count.session.config
    return _judged(count, replace(config.evaluate, epochs=config.watch.probe_epochs, split="validation"), config.probes)


def _data_bytes(session: Session) -> int:
    """Return what the real data and the matrices of their preprocessing will take on the card."""
    data = session.data
    tensors = [tensor for split in (data.train, data.validation, data.test) for tensor in (split.images, split.labels)]
    return sum(tensor.nbytes for tensor in (*tensors, *session.preprocess.tensors().values()))


def _evaluate(count: _Counting, name: str) -> ForecastRow:
    config, protocol = count.session.config, count.session.config.protocol(name)
    nets, epochs = config.trainings(name), protocol.training(1.0).epochs_run
    what = f"{nets} networks x {epochs} epochs, protocol {name}"
    memory = _data_bytes(count.session) + judging_bytes(count.session, name)
    return ForecastRow("evaluate", _judged(count, protocol, nets), memory, 0, what)


def _judged(count: _Counting, protocol: Protocol, networks: int) -> float:
    """Return the time in which so many networks are trained on the set and tested."""
    config, data = count.session.config, count.session.data
    name = protocol.network or config.network
    seen = protocol.training(1.0).epochs_run * config.ipc * data.classes * config.windows
    tested = len(data.test if protocol.split == "test" else data.validation)
    training = count.seconds(name, networks * seen, FORWARDS_PER_GRADIENT)
    return training + count.seconds(name, networks * tested, 1)


def _trained(config: RunConfig) -> list[tuple[str, str, int, int, int]]:
    """Return stage, network, number, epochs and snapshots of the networks trained on real data."""
    found = []
    if config.trains_experts:
        epochs = config.expert_epochs
        found.append(("experts", config.network, config.experts.count, epochs, epochs + 1))
    if "teachers" in config.needs:
        wanted = config.teachers
        kept, epochs = max(1, len(wanted.snapshots)), wanted.training.epochs_run
        names = wanted.networks or (config.network,)
        found += [("teachers", name, wanted.count, epochs, kept) for name in names]
    if config.full.networks and not all(config.protocol(name).peak for name in config.protocols):
        judge = config.evaluate.network or config.network
        found.append(("full set", judge, config.full.networks, config.full.training.epochs_run, 1))
    return found
