"""What a recipe will need on a GPU that is not here: memory as the plan decides it, time by counting."""

import tempfile
from pathlib import Path

from datadistill.config import RunConfig
from datadistill.runtime.accelerators import Accelerator
from datadistill.stages.forecast import Forecast, ForecastRow
from datadistill.stages.memory import estimate, estimate_method
from datadistill.stages.planning import (
    FORWARDS_PER_STEP,
    FORWARDS_PER_TRAINING_STEP,
    Machine,
    choose,
    forward_operations,
    iteration_forwards,
    planned_peak,
    wanted_engine,
)
from datadistill.stages.session import Session, open_run

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
        session = open_run(Path(folder) / "run", config, device="cpu", data_root=data_root)
        rows = _rows(session, gpu, memory_limit)
    seconds = f"operations counted / ({_EFFICIENCY:.0%} of the data sheet's peak): an estimate, nothing was timed"
    return Forecast(gpu.name, tuple(rows), seconds)


def _rows(session: Session, gpu: Accelerator, memory_limit: int | None) -> list[ForecastRow]:
    config, data = session.config, session.data
    real, n = len(data.train), config.ipc * data.classes
    forward, p = forward_operations(session.network, data.card.shape), session.network.parameter_count
    graph = estimate(session.network, data.card.shape, data.classes, batch=1, steps=1).step
    precision = config.engine.precision
    rates = gpu.operations(precision), gpu.operations("float32" if precision == "float32" else "tf32")

    def seconds(images: int, forwards: int, moved: int, rate: float) -> float:
        """Return the longer of arithmetic and of moving the graph through memory."""
        return images * max(forwards * forward / rate, moved * graph / (1e9 * gpu.bandwidth)) / _EFFICIENCY

    rows = []
    for name, count, epochs, snapshots in _trained(config):
        disk = count * snapshots * p * _FLOAT
        passes = 2 if name == "experts" and config.experts.gsam else 1
        time = seconds(passes * real * count * epochs, FORWARDS_PER_TRAINING_STEP, 1, rates[1])
        rows.append(ForecastRow(name, time, 0, disk, f"{count} networks x {epochs} epochs"))
    if (unrolled := config.method.unrolled) is not None:
        batch = unrolled.batch(n) * config.windows
        shape, windows = data.card.shape, config.windows
        need = estimate_method(session.network, shape, data.classes, unrolled, images=n, windows=windows)
        limit = memory_limit or gpu.usable_bytes
        plan = wanted_engine(config, compiled=config.engine.compiled != "no")
        if config.engine.strategy == "auto":
            plan |= choose(need, Machine(limit, memory_limit or int(gpu.memory_gib * 2**30), gpu=True), plan)
        steps = unrolled.steps * unrolled.trainings
        wholes = iteration_forwards(unrolled, batch) * config.iterations // FORWARDS_PER_STEP
        time = seconds(wholes, FORWARDS_PER_STEP, 4, rates[0])
        what = f"{config.iterations:,} iterations of {steps} steps on {batch} images; "
        what += f"{plan['strategy']}: {plan['reason']}"
        rows.append(ForecastRow("distill", time, planned_peak(need, plan, gpu=True), 0, what))
    for name in config.protocols:
        nets, epochs = config.trainings(name), config.protocol(name).training(1.0).epochs_run
        time = seconds(nets * epochs * n * config.windows, FORWARDS_PER_TRAINING_STEP, 1, rates[1])
        time += seconds(nets * len(data.test), 1, 1, rates[1])
        rows.append(ForecastRow("evaluate", time, 0, 0, f"{nets} networks x {epochs} epochs, protocol {name}"))
    return rows


def _trained(config: RunConfig) -> list[tuple[str, int, int, int]]:
    """Return stage, number, epochs and snapshots of the networks trained on real data."""
    found = []
    if config.trains_experts:
        found.append(("experts", config.experts.count, config.expert_epochs, config.expert_epochs + 1))
    if config.full.networks and not all(config.protocol(name).peak for name in config.protocols):
        found.append(("full set", config.full.networks, config.full.training.epochs_run, 1))
    return found
