"""Choose how gradients through training are computed, before the first iteration.

The choice depends on the recipe and the machine, never on a timing: two runs of one recipe on one machine with enough
free memory take the same path through the arithmetic and give the same bits.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from datadistill.config import RunConfig
from datadistill.core.arrays import Params, Scalar
from datadistill.core.errors import CannotCompileError, UsageError
from datadistill.core.randomness import Randomness
from datadistill.methods import Problem, Unrolled
from datadistill.methods.base import FORWARDS_PER_GRADIENT, FORWARDS_PER_REVERSE, begin
from datadistill.methods.classwise import ClassMatching
from datadistill.networks import FlatNetwork
from datadistill.runtime.compiler import can_compile
from datadistill.runtime.device import free_bytes, occupied_bytes, total_bytes
from datadistill.stages.memory import Estimate, Settings, estimate_method, peak
from datadistill.stages.session import Session
from datadistill.unroll import Gradients, Unroll, draw_steps
from datadistill.unroll.engine import Strategy

_TIMED_STEPS = 3
_COMPARED_STEPS = 5
_WRONG = 0.05
"""Distance of a compiled gradient from the eager one, relative to it, from which on it is no rounding."""

_AGREEMENT = 0.9
"""Cosine to the float32 gradient below which bfloat16 is refused."""

_STORED_SHARE = 8
"""The graph is stored when it takes at most this part of the machine's memory: less arithmetic than the adjoint."""

_GIB = 2**30

_WORTH_COMPILING = 1e14
"""Operations from which on compiling repays the half minute that it takes; about five minutes on two cores."""


def decide(session: Session, problem: Problem) -> Unroll:
    """Return the engine of a run: from the plan, or decided now and written there.

    Raises:
        UsageError: If the run cannot fit into the memory limit.
        ValueError: If the method does not differentiate through training.
    """
    if session.plan.strategy is None:
        decisions = _decisions(session, problem)
        if session.plan.precision == "bf16":
            decisions["reason"] += f"; bf16: cosine {_agreement(session, problem, decisions):.4f} to float32"
        session.change_plan(**decisions)
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
        bf16=plan.precision == "bf16",
        together=plan.together,
    )


def iteration_forwards(unrolled: Unrolled, batch: int) -> int:
    """Return the operations of an outer iteration with ``batch`` images per step, in forward passes of one image."""
    further = FORWARDS_PER_REVERSE - FORWARDS_PER_GRADIENT
    steps = FORWARDS_PER_GRADIENT * unrolled.steps + further * unrolled.differentiated
    return unrolled.trainings * (batch * steps + FORWARDS_PER_GRADIENT * unrolled.real_batch)


def _agreement(session: Session, problem: Problem, decisions: dict[str, Any]) -> float:
    """Return the cosine between the gradients of a short training in bfloat16 and in float32, by the images.

    Raises:
        UsageError: If they point in different directions.
    """
    unrolled = session.config.method.unrolled
    batch = unrolled.batch(len(problem.initial_images)) if unrolled is not None else None
    start = problem.network.initial(Randomness(0).stream("planning")).to(problem.device)

    def moved(end: Params) -> Scalar:
        return (end - start).square().sum()

    found = []
    for bf16 in (False, True):
        engine = Unroll(problem.network, problem.augment, micro_batch=decisions["micro_batch"], bf16=bf16)
        found.append(_short_training(engine, problem, batch, _COMPARED_STEPS, start, moved).images.flatten())
    cosine = torch.cosine_similarity(found[0], found[1], dim=0).item()
    if not cosine >= _AGREEMENT:
        raise UsageError(
            f"engine.precision: bf16 gradients have cosine {cosine:.3f} to those of float32 here; use tf32"
        )
    return cosine


def _decisions(session: Session, problem: Problem) -> dict[str, Any]:
    engine, unrolled = session.config.engine, session.config.method.unrolled
    if unrolled is None:
        raise ValueError("this method does not differentiate through training")
    count, windows = len(problem.initial_images), session.config.windows
    batch = unrolled.batch(count)
    forwards = iteration_forwards(unrolled, batch * windows) * session.config.iterations
    shape, classes = problem.data.card.shape, problem.data.classes
    compiled = worth_compiling(session, forwards * forward_operations(problem.network, shape))
    strategies: tuple[Strategy, ...] = ("adjoint",) if engine.strategy == "adjoint" else ("adjoint", "stored")
    name, tried = session.config.network, partial(_try_student, problem, batch, strategies)
    failure = compiler_fails(session, name, tried) if compiled else None
    compiled = compiled and failure is None
    changes = wanted_engine(session.config, compiled=compiled)
    if engine.strategy == "auto":
        need = estimate_method(problem.network, shape, classes, unrolled, images=count, windows=windows)
        changes |= choose(need, _machine(session), changes)
        one = session.config.workers == 1  # several do with a student each
        changes["together"] = one and _together(need, unrolled, _machine(session), changes)
        if changes["micro_batch"] is not None and problem.network.statistics_count:
            raise UsageError(f"{problem.network.name} has batch norm, its steps cannot be split; raise --memory-limit")
    if engine.compiled == "auto" and not can_compile(session.device):
        changes["reason"] += "; no C++ compiler: eager"
    if failure is not None:
        changes["reason"] += f"; eager: {failure}"
    return changes


def compiler_fails(session: Session, network: str, take_a_step: Callable[[], object]) -> str | None:
    """Take one compiled step of a network on a CPU; say why that fails, if it does and the recipe leaves it open.

    Raises:
        UsageError: If it fails and the recipe wants it.
    """
    if session.device.type != "cpu":  # whole steps are captured there, nothing is compiled
        return None
    try:
        take_a_step()
    except CannotCompileError as error:
        line = f"{network}: its steps {error}"
        if session.config.engine.compiled == "yes":
            raise CannotCompileError(f"engine.compiled is 'yes': {line}; set it to 'auto' or 'no'") from error
        session.reporter.say(f"{line}; going on eagerly")
        return line
    return None


def _try_student(problem: Problem, batch_size: int | None, strategies: tuple[Strategy, ...]) -> None:
    """Compile a student's step, and compare: torch's compiler has been seen to make wrong gradients without a word.

    Raises:
        CannotCompileError: If it fails, or does so.
    """
    start = problem.network.initial(Randomness(0).stream("planning")).to(problem.device)
    for strategy in strategies:
        engines = (Unroll(problem.network, problem.augment, strategy=strategy, compiled=c) for c in (True, False))
        compiled, eager = (
            _short_training(engine, problem, batch_size, 1, start, lambda end: end.square().sum()).images
            for engine in engines
        )
        wrong = float((compiled - eager).norm() / eager.norm())
        if not wrong < _WRONG:
            raise CannotCompileError(f"are compiled wrongly, a gradient is off by {wrong:.0%}")


@dataclass(frozen=True)
class Machine:
    """What a plan depends on.

    Attributes:
        limit: Bytes an iteration may use, beside what program and data occupy.
        total: Bytes there are, or the limit somebody set.
        gpu: Whether they are those of a GPU.
    """

    limit: int
    total: int
    gpu: bool

    @classmethod
    def limited(cls, total: int, occupied: int, *, gpu: bool) -> "Machine":
        """Return a machine of which somebody lets a run have ``total`` bytes in all."""
        return cls(max(0, total - occupied), total, gpu)


def _machine(session: Session) -> Machine:
    device, limit = session.device, session.memory_limit
    gpu = device.type == "cuda"
    if limit is not None:
        return Machine.limited(limit, occupied_bytes(device), gpu=gpu)
    return Machine(free_bytes(device), total_bytes(device), gpu)


def wanted_engine(config: RunConfig, *, compiled: bool) -> dict[str, Any]:
    """Return the fields of a plan as the recipe wants them."""
    engine = config.engine
    return {
        "keep_every": engine.keep_every,
        "keep_on_host": engine.keep_on_host,
        "micro_batch": engine.micro_batch,
        "compiled": compiled,
        "strategy": engine.strategy,
        "reason": "set by the recipe",
    }


def planned_peak(need: Estimate, plan: dict[str, Any], *, gpu: bool) -> int:
    """Return the bytes an iteration needs at its peak under the fields of a plan."""
    fields = {name: plan[name] for name in ("strategy", "keep_every", "keep_on_host", "micro_batch")}
    return peak(need, Settings(**fields, compiled=plan["compiled"] and not gpu))


def choose(need: Estimate, machine: Machine, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the strategy, and what else makes a run fit into memory: the mildest that does.

    Args:
        need: Of the run.
        machine: Its memory.
        wanted: What the recipe's engine asks for.

    Raises:
        UsageError: If one image at a time is too much.
    """
    asked = Settings(
        strategy="adjoint",
        compiled=wanted["compiled"] and not machine.gpu,
        keep_every=wanted["keep_every"],
        keep_on_host=wanted["keep_on_host"],
        micro_batch=wanted["micro_batch"],
    )
    limit, stored = machine.limit, peak(need, replace(asked, strategy="stored"))
    captured = wanted["compiled"] and machine.gpu  # the adjoint can be, a stored graph cannot
    roomy = stored <= min(limit // 2, machine.total // _STORED_SHARE)
    plain = asked.micro_batch is None and asked.keep_every == 1 and not asked.keep_on_host
    if roomy and plain and not captured:
        return {"strategy": "stored", "reason": f"the stored graph needs only {stored / _GIB:.2f} GiB"}
    short = f"the stored graph needs {stored / _GIB:.1f} GiB of {limit / _GIB:.1f}"
    if peak(need, asked) <= limit:
        why = "whole steps are captured" if roomy and captured else short
        return {"strategy": "adjoint", "reason": why if captured or not roomy else "as the recipe's engine asks"}
    fewer, words = _fewer_weights(need, asked, machine)
    found: dict[str, Any] = {"strategy": "adjoint", "keep_every": fewer.keep_every, "keep_on_host": fewer.keep_on_host}
    if peak(need, fewer) <= limit:
        return {**found, "reason": f"{short}; {words}"}
    micro = next((m for m in range(asked.micro_batch or need.batch, 0, -1) if _fits(need, fewer, m, limit)), None)
    if micro is None:
        least = peak(need, replace(fewer, micro_batch=1))
        raise UsageError(
            f"one image of a student step needs {least / _GIB:.2f} GiB, {limit / _GIB:.2f} may be used beside program "
            "and data; raise --memory-limit"
        )
    return {**found, "micro_batch": micro, "reason": f"{short}; {words}, {micro} images at a time"}


def _together(need: Estimate, unrolled: Unrolled, machine: Machine, plan: dict[str, Any]) -> bool:
    """Say whether the students of an iteration are trained at once: on a GPU that captures steps, where all fit.

    A small network leaves most of a GPU idle; on a CPU nothing is gained, and the plain arithmetic is kept.
    """
    many, plain = (
        unrolled.trainings,
        (plan["keep_every"], plan["keep_on_host"], plan["micro_batch"]) == (1, False, None),
    )
    captured = machine.gpu and plan["compiled"] and plan["strategy"] == "adjoint"
    if many < 2 or unrolled.vectors > 1 or not (plain and captured):
        return False
    return peak(replace(need, step=many * need.step, vector=many * need.vector), Settings()) <= machine.limit


def _fits(need: Estimate, settings: Settings, micro: int, limit: int) -> bool:
    return peak(need, replace(settings, micro_batch=micro)) <= limit


def _fewer_weights(need: Estimate, asked: Settings, machine: Machine) -> tuple[Settings, str]:
    """Return settings under which fewer weights are in the memory that is short, and that in words.

    On a GPU they go to the host, whose memory is another. On a CPU every k-th is kept, with the smallest k that fits,
    or the one that needs least.
    """
    if machine.gpu or asked.keep_on_host:
        return replace(asked, keep_on_host=True), "weights kept on the host"
    last = max(asked.keep_every, round(need.steps**0.5))
    choices = [replace(asked, keep_every=every) for every in range(asked.keep_every, last + 1)]
    fewest = min(choices, key=lambda one: peak(need, one))
    fewer = next((one for one in choices if peak(need, one) <= machine.limit), fewest)
    return fewer, f"weights kept at every {fewer.keep_every}. step" if fewer.keep_every > 1 else "all weights kept"


def matching_compiled(session: Session, problem: Problem) -> bool:
    """Return whether a method that compares batches compiles that: from the plan, or decided now and written there."""
    method: ClassMatching[Any] = session.config.method
    if session.plan.matching_compiled is None:
        forwards = session.config.iterations * method.forwards(len(problem.initial_images), session.data.classes)
        worth = worth_compiling(session, forwards * forward_operations(problem.network, session.data.card.shape))
        network = problem.network.name
        fails = worth and compiler_fails(session, network, lambda: _try_matching(method, problem)) is not None
        session.change_plan(matching_compiled=worth and not fails)
    return bool(session.plan.matching_compiled)


def _try_matching(method: Any, problem: Problem) -> None:
    rng = Randomness(0).child("planning")
    compiled = replace(problem, compiled=True)
    method.gradient(compiled, begin(method, compiled, rng), rng.at(1))


def worth_compiling(session: Session, operations: int) -> bool:
    """Say whether so much arithmetic is worth compiling for, if the recipe leaves it open.

    Raises:
        UsageError: If the recipe wants what this machine cannot do.
    """
    wanted, able = session.config.engine.compiled, can_compile(session.device)
    if wanted == "yes" and not able:
        raise UsageError("engine.compiled is 'yes', and there is no C++ compiler (g++, or $CXX) here")
    cheap = session.device.type == "cuda"  # to capture takes no longer than a few steps
    return wanted == "yes" or (wanted == "auto" and able and (cheap or operations >= _WORTH_COMPILING))


def forward_operations(network: FlatNetwork, shape: tuple[int, int, int]) -> int:
    """Return the operations of one forward pass of one image, a multiplication and an addition counted as two."""
    params = network.initial(Randomness(0).stream("planning"))
    with FlopCounterMode(display=False) as counter:
        network(params, torch.zeros(1, *shape))
    return int(counter.get_total_flops())


def seconds_per_step(engine: Unroll, problem: Problem, batch_size: int | None) -> float:
    """Return the seconds that a student step and its share of the gradient take, best of three."""
    start = problem.network.initial(Randomness(0).stream("planning")).to(problem.device)
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        _short_training(engine, problem, batch_size, _TIMED_STEPS, start, lambda end: end.square().sum())
        if problem.device.type == "cuda":
            torch.cuda.synchronize(problem.device)
        best = min(best, time.perf_counter() - begun)
    return best / _TIMED_STEPS


def _short_training(
    engine: Unroll,
    problem: Problem,
    batch_size: int | None,
    count: int,
    start: Params,
    loss: Callable[[Params], Scalar],
) -> Gradients:
    """Return the gradients of a few student steps on the first images."""
    images, device = problem.initial_images, problem.device
    steps = draw_steps(
        Randomness(0).child("planning"),
        problem.augment,
        images=len(images),
        steps=count,
        batch_size=batch_size,
        device=device,
        texture=problem.texture,
    )
    lr = torch.full((1,), 0.01, device=device)
    return engine(start, images, problem.initial_targets, lr, steps, loss)
