"""The only loop over distillation iterations, and the guard that stops a run that has left the rails."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from datadistill.core.errors import DivergenceError, NonFiniteError, NumericalError
from datadistill.core.randomness import Randomness
from datadistill.methods import Method, Problem, step
from datadistill.methods.base import UPDATE_TAKEN, begin
from datadistill.runtime.metrics import Row
from datadistill.synthetic.artifact import SyntheticSet

_MAX_STUDENT_LR = 10.0
_MAX_LOSS = 1e4
_OBJECTIVES = {"matching_loss": "the matching loss", "real_loss": "the loss on real images"}


class Progress:
    """What observers see after an iteration, and what is there at the end.

    Attributes:
        iteration: Iterations behind us, from 1.
        metrics: The numbers of the latest iterations, read from the device; empty between two readings.
    """

    def __init__(self, method: Method[Any], problem: Problem, state: Any, iteration: int) -> None:
        self.iteration = iteration
        self.metrics: list[Row] = []
        self._method, self._problem, self._state = method, problem, state

    @property
    def state(self) -> Any:
        """The method's state, resumable."""
        return self._state

    def export(self) -> SyntheticSet:
        """Return the synthetic set as it is now."""
        return self._method.export(self._problem, self._state)

    def variants(self) -> dict[str, SyntheticSet]:
        """Return the other sets of the method as they are now."""
        return self._method.variants(self._problem, self._state)


@runtime_checkable
class Observer(Protocol):
    """Anything that looks on: metrics, checkpoints, probes, pictures."""

    def __call__(self, progress: Progress) -> None:
        """Look at an iteration; must change neither the state nor any random stream."""
        ...


def distill(
    method: Method[Any],
    problem: Problem,
    *,
    iterations: int,
    rng: Randomness,
    observers: Sequence[Observer] = (),
    read_every: int = 10,
    resume: tuple[int, dict[str, Tensor]] | None = None,
    stop: Callable[[int], bool] = lambda done: False,
) -> Progress:
    """Run ``method`` on ``problem`` and return where it has got to.

    Args:
        method: What is run.
        problem: What it is run on.
        iterations: Outer iterations in all.
        rng: Iteration ``i`` draws from ``rng.at(i)``.
        observers: Called in order after every iteration.
        read_every: Metrics are read from the device, and checked, every so many iterations.
        resume: Iterations already behind us, and the tensors of the state then.
        stop: Asked before every iteration, with the number of those behind us, whether to end here. A run that is
            to be gone on with ends where its state has been kept and its metrics have been read.

    Raises:
        NonFiniteError: If a metric or an image is not finite.
        DivergenceError: If the objective or the step size exploded.
    """
    if resume is None:
        done, state = 0, begin(method, problem, rng)
    else:
        done, tensors = resume
        state = method.init(problem, rng.at(0))
        state.restore(tensors)
    waiting: list[dict[str, Tensor]] = []
    for i in range(done + 1, iterations + 1):
        if stop(i - 1):
            break
        waiting.append(step(method, problem, state, rng.at(i)))
        progress = Progress(method, problem, state, i)
        if i % read_every == 0 or i == iterations:
            progress.metrics = _read(waiting, first=i + 1 - len(waiting))
            waiting = []
            try:
                for row in progress.metrics:
                    check_metrics(row)
                check_state(state.tensors(), i)
            except NumericalError as error:
                error.rows = progress.metrics
                raise
        for observe in observers:
            observe(progress)
        done = i
    return Progress(method, problem, state, done)


def _read(waiting: list[dict[str, Tensor]], first: int) -> list[Row]:
    """Return the numbers of each iteration, all of them read in one copy."""
    numbers = iter(torch.stack([value.double() for metrics in waiting for value in metrics.values()]).tolist())
    return [
        {"iteration": first + offset, **{name: next(numbers) for name in metrics}}
        for offset, metrics in enumerate(waiting)
    ]


def check_metrics(row: Row) -> None:
    """Refuse the metrics of an iteration if they are not finite or have exploded, with a diagnosis.

    Those of an update that was not taken may be anything: the state did not follow them.

    Raises:
        NonFiniteError: If a metric is NaN or infinite.
        DivergenceError: If the student's step size is above 10 or the objective above 10,000.
    """
    if row.get(UPDATE_TAKEN, 1.0) == 0:
        return
    iteration = int(row["iteration"])
    shown = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "iteration")
    remedy = "try a smaller image_lr, student_lr or student_lr_lr, or fewer steps of the student"
    if not all(map(math.isfinite, row.values())):
        raise NonFiniteError(f"iteration {iteration}: a metric is not finite ({shown}); {remedy}")
    if row.get("student_lr", 0.0) > _MAX_STUDENT_LR:
        raise DivergenceError(f"iteration {iteration}: the student's step size exploded ({shown}); {remedy}")
    for objective, words in _OBJECTIVES.items():
        if row.get(objective, 0.0) > _MAX_LOSS:
            raise DivergenceError(f"iteration {iteration}: {words} exploded ({shown}); {remedy}")


def check_state(tensors: dict[str, Tensor], iteration: int) -> None:
    """Refuse a state with numbers that are not finite.

    Raises:
        NonFiniteError: If there is one; the message names the tensor.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError(
                f"iteration {iteration}: {name} holds numbers that are not finite; try a smaller image_lr"
            )
