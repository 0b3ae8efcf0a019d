"""Workers that stay: they hold one big value, and do many small tasks on it, in every iteration anew."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from datadistill.core.errors import RunError
from datadistill.runtime.executor import Executor, SpawnPool, start_worker
from datadistill.runtime.ray_cluster import RayCluster, crew_on_ray

Spread = Callable[[Callable[[Any, Any], Any], Sequence[Any]], list[Any]]
"""``spread(task, arguments)``: the results of ``task(held, argument)``, in the order of the arguments."""


@contextmanager
def crew(executor: Executor, held: Any) -> Iterator[Spread]:
    """Yield what does tasks on ``held`` with the workers of an executor; they are let go at the end.

    What a task gives does not depend on how many workers there are.

    Args:
        executor: Processes of a pool or of a cluster; anything else is this process.
        held: Sent to every worker once; picklable, if there are workers.
    """
    if isinstance(executor, RayCluster):
        with crew_on_ray(executor, held) as spread:
            yield spread
    elif isinstance(executor, SpawnPool):
        pool = ProcessPoolExecutor(
            max_workers=executor.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_take,
            initargs=(executor.threads, executor.precision, held),
        )

        def in_processes(task: Callable[[Any, Any], Any], arguments: Sequence[Any]) -> list[Any]:
            try:
                return list(pool.map(_do, [task] * len(arguments), arguments))
            except BrokenProcessPool as error:
                raise RunError("a worker process died; start again with --resume") from error

        try:
            yield in_processes
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    else:
        yield lambda task, arguments: [task(held, argument) for argument in arguments]


_held: list[Any] = []


def _take(threads: int, precision: Any, held: Any) -> None:
    start_worker(threads, precision)
    _held[:] = [held]


def _do(task: Callable[[Any, Any], Any], argument: Any) -> Any:
    return task(_held[0], argument)
