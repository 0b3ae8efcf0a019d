"""Run many independent tasks: in this process, among its threads, or in a pool of fresh ones.

A task is a pure function of its arguments that leaves its result in a file or returns it; so any
executor gives the same results with the same number of threads per process, whatever the number of workers.
"""

import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch

from datadistill.core.errors import RunError
from datadistill.runtime.allocator import keep_freed_memory
from datadistill.runtime.device import Precision, set_up

A = TypeVar("A")
B = TypeVar("B")

Spread = Callable[[Callable[[Any, Any], Any], Sequence[Any]], list[Any]]
"""``spread(task, arguments)``: the results of ``task(held, argument)``, in the order of the arguments."""

_DIED = (
    "a worker process died (killed, out of memory, or started from a script without "
    "`if __name__ == '__main__'`); start again with --resume"
)


@runtime_checkable
class Executor(Protocol):
    """Runs one function over many arguments."""

    def run(self, task: Callable[[A], B], arguments: Sequence[A]) -> Iterator[tuple[int, B]]:
        """Yield ``(index, task(arguments[index]))`` as results arrive, in any order.

        Raises:
            RunError: If a worker died.
            Exception: Whatever a task raised, after the others have been given up.
        """
        ...

    def crew(self, held: Any) -> AbstractContextManager[Spread]:
        """Return what does tasks on ``held`` with workers that stay, in every iteration anew, and lets them go.

        What a task gives does not depend on how many workers there are.

        Args:
            held: Sent to every worker once; picklable, if there are workers.
        """
        ...


@contextmanager
def crew_of_one(held: Any) -> Iterator[Spread]:
    """Yield what does tasks on ``held`` here, one after another."""
    yield lambda task, arguments: [task(held, argument) for argument in arguments]


@dataclass(frozen=True)
class InProcess:
    """Runs the tasks one after another, here."""

    def run(self, task: Callable[[A], B], arguments: Sequence[A]) -> Iterator[tuple[int, B]]:
        """Yield the results in order."""
        for index, argument in enumerate(arguments):
            yield index, task(argument)

    def crew(self, held: Any) -> AbstractContextManager[Spread]:
        """Return this process."""
        return crew_of_one(held)


class CancelledError(Exception):
    """A task was given up because another one failed, or the user wants to stop."""


_place = threading.local()


def check_cancelled() -> None:
    """Give up the task this thread is at, if nobody waits for it any more. Long tasks call it now and then.

    Raises:
        CancelledError: If so.
    """
    cancelled: threading.Event | None = getattr(_place, "cancelled", None)
    if cancelled is not None and cancelled.is_set():
        raise CancelledError


@dataclass(frozen=True)
class SideBySide:
    """Runs the tasks in threads of this process, each with one arithmetic thread.

    Small networks do not fill several cores; several of them do. What a task computes does not depend on how many
    run beside it. Tasks must not share what they change.

    Attributes:
        tasks: How many run at once, at least 1.
    """

    tasks: int

    def run(self, task: Callable[[A], B], arguments: Sequence[A]) -> Iterator[tuple[int, B]]:
        """Yield results as they arrive."""
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in range(len(arguments)):
            waiting.put(index)
        found: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
        cancelled = threading.Event()

        def work() -> None:
            torch.set_num_threads(1)  # of this thread only
            _place.cancelled = cancelled
            while not cancelled.is_set():
                try:
                    index = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    found.put((index, task(arguments[index]), None))
                except BaseException as error:  # raised where somebody waits for it
                    found.put((index, None, error))

        before = torch.get_num_threads()
        threads = [threading.Thread(target=work) for _ in range(min(self.tasks, len(arguments)))]
        try:
            for thread in threads:
                thread.start()
            for _ in arguments:
                index, result, error = found.get()
                if error is not None:
                    raise error
                yield index, result
        finally:
            cancelled.set()
            for thread in threads:
                thread.join()
            torch.set_num_threads(before)

    def crew(self, held: Any) -> AbstractContextManager[Spread]:
        """Return this thread: what threads share they would change."""
        return crew_of_one(held)


@dataclass(frozen=True)
class SpawnPool:
    """Runs the tasks in freshly started processes on this machine.

    Attributes:
        workers: Processes at once, at least 1.
        threads: Arithmetic threads of each worker. Fixed, because results depend on it in the last bits.
        precision: See :func:`~datadistill.runtime.device.set_up`.
    """

    workers: int
    threads: int = 1
    precision: Precision = "tf32"

    def run(self, task: Callable[[A], B], arguments: Sequence[A]) -> Iterator[tuple[int, B]]:
        """Yield results as they arrive. Task and arguments must be picklable."""
        pool = ProcessPoolExecutor(
            max_workers=min(self.workers, max(1, len(arguments))),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self.threads, self.precision),
        )
        try:
            futures = {pool.submit(task, argument): index for index, argument in enumerate(arguments)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise RunError(_DIED) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def crew(self, held: Any) -> Iterator[Spread]:
        """Yield what does tasks on ``held`` in processes that stay.

        Raises:
            RunError: If a worker died.
        """
        pool = ProcessPoolExecutor(
            max_workers=self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_take,
            initargs=(self.threads, self.precision, held),
        )

        def in_processes(task: Callable[[Any, Any], Any], arguments: Sequence[Any]) -> list[Any]:
            try:
                return list(pool.map(_do, [task] * len(arguments), arguments))
            except BrokenProcessPool as error:
                raise RunError(_DIED) from error

        try:
            yield in_processes
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_held: list[Any] = []


def _take(threads: int, precision: Precision, held: Any) -> None:
    _start_worker(threads, precision)
    _held[:] = [held]


def _do(task: Callable[[Any, Any], Any], argument: Any) -> Any:
    return task(_held[0], argument)


def _start_worker(threads: int, precision: Precision) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    set_up(threads, precision)


def _end_with_parent() -> None:
    """End this worker when the process that started it is gone: killed, it can no longer say so itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
