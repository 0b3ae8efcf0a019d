"""Choose how gradients through training are computed, by memory and by a short timing, before the first iteration."""

import shutil
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from datadistill.core.errors import UsageError
from datadistill.core.randomness import Randomness
from datadistill.methods import Problem, Unrolled
from datadistill.networks import FlatNetwork
from datadistill.runtime.device import free_bytes
from datadistill.stages.session import Session
from datadistill.unroll import Unroll, draw_steps

_TIMED_STEPS = 3
_COMPILE_SECONDS = 90.0
_COMPILE_GAIN = 0.2  # share of the time that compiling saved where it was measured
_FLOAT = 4


@dataclass(frozen=True)
class Estimate:
    """Memory of one outer iteration, in bytes.

    Attributes:
        step: Graph of one student step with its gradient, whole batch.
        weights: Student weights kept over all steps.
        stored: Peak of strategy ``stored``.
        adjoint: Peak of strategy ``adjoint`` with all weights kept on the device.
    """

    step: int
    weights: int
    stored: int
    adjoint: int


def estimate(network: FlatNetwork, shape: tuple[int, int, int], classes: int, *, batch: int, steps: int) -> Estimate:
    """Return the memory that ``steps`` student steps on ``batch`` images need, from the graph of one image or two."""
    one, two = (_graph_bytes(network, shape, classes, images) for images in (1, 2))
    step = one + (two - one) * (batch - 1)
    weights = steps * network.parameter_count * _FLOAT
    vectors = 6 * network.parameter_count * _FLOAT
    return Estimate(step, weights, steps * step + weights, 2 * step + weights + vectors)


def _graph_bytes(network: FlatNetwork, shape: tuple[int, int, int], classes: int, images: int) -> int:
    """Return the bytes that autograd keeps for one student step whose gradient will be differentiated."""
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    rng = Randomness(0)
    params = network.initial(rng.stream("planning")).requires_grad_()
    x = torch.randn((images, *shape), generator=rng.stream("images")).requires_grad_()
    y = torch.eye(classes)[torch.arange(images) % classes]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = torch.nn.functional.cross_entropy(network(params, x), y)
        kept.append(torch.autograd.grad(loss, params, create_graph=True))
    return sum(seen.values())


def decide(session: Session, problem: Problem) -> Unroll:
    """Return the engine of a run: from the plan, or decided now and written there.

    Raises:
        UsageError: If the run cannot fit into the memory limit.
        ValueError: If the method does not differentiate through training.
    """
    if session.plan.strategy is None:
        session.change_plan(**_decisions(session, problem))
    return make_unroll(session, problem)


def make_unroll(session: Session, problem: Problem) -> Unroll:
    """Return the engine as the plan says; the adjoint where it does not say yet."""
    plan = session.plan
    return Unroll(
        problem.network,
        problem.augment,
        strategy=plan.strategy or "adjoint",
        keep_every=plan.keep_every,
        keep_on_host=plan.keep_on_host,
        micro_batch=plan.micro_batch,
        compiled=plan.compiled,
    )


def _decisions(session: Session, problem: Problem) -> dict[str, Any]:
    engine, unrolled = session.config.engine, session.config.method.unrolled
    if unrolled is None:
        raise ValueError("this method does not differentiate through training")
    limit = session.memory_limit or free_bytes(session.device)
    batch = min(unrolled.batch_size or len(problem.initial_images), len(problem.initial_images))
    shape, classes = problem.data.card.shape, problem.data.classes
    changes: dict[str, Any] = {
        "keep_every": engine.keep_every,
        "keep_on_host": engine.keep_on_host,
        "micro_batch": engine.micro_batch,
        "strategy": engine.strategy,
        "reason": "set by the recipe",
    }
    if engine.strategy == "auto":
        need = estimate(problem.network, shape, classes, batch=batch, steps=unrolled.steps)
        changes |= _fit(need, limit, changes, batch)
    if changes["strategy"] == "auto":
        changes |= _faster(make_unroll(session, problem), problem, unrolled.batch_size)
    return {**changes, "compiled": _compile(session, problem, unrolled, changes["strategy"])}


def _fit(need: Estimate, limit: int, wanted: dict[str, Any], batch: int) -> dict[str, Any]:
    """Return the changes that make a run fit into ``limit`` bytes; ``strategy`` stays ``auto`` where both do."""
    gib = 2**30
    if need.stored <= limit // 2 and wanted["micro_batch"] is None:
        return {}
    reason = f"the stored graph needs {need.stored / gib:.1f} GiB of {limit / gib:.1f}"
    if need.adjoint <= limit:
        return {"strategy": "adjoint", "reason": reason}
    without_weights = need.adjoint - need.weights
    if without_weights <= limit:
        return {"strategy": "adjoint", "keep_on_host": True, "reason": f"{reason}; weights kept on the host"}
    micro = max(1, int(batch * limit / (2 * without_weights)))
    if need.step * micro // batch * 2 > limit:
        raise UsageError(f"one image of a student step needs {need.step / batch / gib:.2f} GiB; raise --memory-limit")
    changes = {"strategy": "adjoint", "keep_on_host": True, "micro_batch": micro}
    return {**changes, "reason": f"{reason}; weights kept on the host, {micro} images at a time"}


def _faster(unroll: Unroll, problem: Problem, batch_size: int | None) -> dict[str, Any]:
    """Return the strategy that takes less time for a few steps."""
    engines = (replace(unroll, strategy="adjoint"), replace(unroll, strategy="stored"))
    seconds = seconds_per_step(engines, problem, batch_size)
    best = min(engines, key=lambda engine: seconds[engines.index(engine)]).strategy
    shown = ", ".join(f"{engine.strategy} {1000 * s:.1f} ms" for engine, s in zip(engines, seconds, strict=True))
    return {"strategy": best, "reason": f"both fit in memory; per student step: {shown}"}


def _compile(session: Session, problem: Problem, unrolled: Unrolled, strategy: str) -> bool:
    """Say whether compiling repays itself: with a compiler at hand, on the CPU, in a long run."""
    wanted = session.config.engine.compiled
    if wanted != "auto":
        return wanted == "yes"
    if strategy == "stored" or session.device.type != "cpu" or shutil.which("g++") is None:
        return False
    (per_step,) = seconds_per_step((make_unroll(session, problem),), problem, unrolled.batch_size)
    expected = per_step * unrolled.steps * session.config.iterations
    return expected * _COMPILE_GAIN > 2 * _COMPILE_SECONDS


def seconds_per_step(engines: tuple[Unroll, ...], problem: Problem, batch_size: int | None) -> list[float]:
    """Return the seconds that a student step and its share of the gradient take: best of three, interleaved."""
    rng = Randomness(0).child("planning")
    images, device = problem.initial_images, problem.device
    steps = draw_steps(
        rng, problem.augment, images=len(images), steps=_TIMED_STEPS, batch_size=batch_size, device=device
    )
    start = problem.network.initial(rng.stream("start")).to(device)
    lr = torch.full((1,), 0.01, device=device)
    best = [float("inf")] * len(engines)
    for _ in range(3):
        for i, engine in enumerate(engines):
            begun = time.perf_counter()
            engine(start, images, problem.initial_targets, lr, steps, lambda end: end.square().sum())
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best[i] = min(best[i], (time.perf_counter() - begun) / _TIMED_STEPS)
    return best
