"""Run independent tasks on a Ray cluster: one of its own on this machine, or one that is there already."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from datadistill.core.errors import RunError, UsageError
from datadistill.runtime.allocator import keep_freed_memory
from datadistill.runtime.device import Precision, set_up
from datadistill.runtime.executor import Spread

A = TypeVar("A")
B = TypeVar("B")

LOCAL = "local"
"""Starts a cluster on this machine, and ends it with the tasks."""


@dataclass(frozen=True)
class RayCluster:
    """Runs the tasks wherever the cluster has room; what several tasks are given alike is sent once.

    Run directory, store and data must lie where every node finds them under the same path.

    Attributes:
        address: ``local``, or the address of a cluster: ``auto``, ``host:port``, ``ray://host:port``.
        workers: Tasks at once, at least 1.
        threads: Arithmetic threads, and processors asked for, per task. Fixed, because results depend on it in the last
            bits.
        gpus: GPUs asked for, per task.
        retries: How often a task is started again whose worker has died.
        precision: See :func:`~datadistill.runtime.device.set_up`.
    """

    address: str = LOCAL
    workers: int = 1
    threads: int = 1
    gpus: float = 0.0
    retries: int = 3
    precision: Precision = "tf32"

    def run(self, task: Callable[[A], B], arguments: Sequence[A]) -> Iterator[tuple[int, B]]:
        """Yield results as they arrive. Task and arguments must be picklable.

        Raises:
            RunError: If the cluster cannot be reached, or a worker died more often than ``retries``.
            UsageError: If Ray is not installed.
        """
        ray, mine = _connect(self)
        try:
            remote = ray.remote(
                num_cpus=self.threads, num_gpus=self.gpus, max_retries=self.retries, scheduling_strategy="SPREAD"
            )(_work)
            sent: dict[int, Any] = {}

            def submit(index: int) -> Any:
                argument: Any = arguments[index]
                several = isinstance(argument, tuple)
                parts = argument if several else (argument,)
                for part in parts:
                    if id(part) not in sent:
                        sent[id(part)] = ray.put(part)
                wanted = [sent[id(part)] for part in parts]
                return remote.remote(task, several, self.threads, self.precision, *wanted)

            waiting = list(range(len(arguments)))[::-1]
            running: dict[Any, int] = {}
            while waiting or running:
                while waiting and len(running) < self.workers:
                    index = waiting.pop()
                    running[submit(index)] = index
                (done, *_), _ = ray.wait(list(running), num_returns=1)
                index = running.pop(done)
                yield index, _result(ray, done)
        finally:
            if mine:
                ray.shutdown()

    @contextmanager
    def crew(self, held: Any) -> Iterator[Spread]:
        """Yield what does tasks on ``held`` in actors that stay; one that dies is started again, its tasks repeated.

        Raises:
            RunError: If the cluster cannot be reached, or an actor died more often than ``retries``.
            UsageError: If Ray is not installed.
        """
        ray, mine = _connect(self)
        try:
            options = {"num_cpus": self.threads, "num_gpus": self.gpus, "max_restarts": self.retries}
            actor = ray.remote(max_task_retries=self.retries, scheduling_strategy="SPREAD", **options)(_Actor)
            shared = ray.put(held)
            actors = [actor.remote(self.threads, self.precision, shared) for _ in range(self.workers)]

            def on_ray(task: Callable[[Any, Any], Any], arguments: Sequence[Any]) -> list[Any]:
                sent = [actors[i % len(actors)].do.remote(task, argument) for i, argument in enumerate(arguments)]
                return [_result(ray, reference) for reference in sent]

            yield on_ray
        finally:
            if mine:
                ray.shutdown()


class _Actor:
    def __init__(self, threads: int, precision: Precision, held: Any) -> None:
        keep_freed_memory()
        set_up(threads, precision)
        self.held = held

    def do(self, task: Callable[[Any, Any], Any], argument: Any) -> Any:
        return task(self.held, argument)


def _connect(cluster: RayCluster) -> tuple[Any, bool]:
    """Return Ray, connected, and whether this call has connected it."""
    try:
        import ray
    except ImportError as error:
        raise UsageError('cluster: Ray is not installed; pip install "datadistill[ray]"') from error
    if ray.is_initialized():
        return ray, False
    paths = os.pathsep.join(path for path in sys.path if path)  # so that workers find what was found here
    environment = {"env_vars": {"PYTHONPATH": paths}}
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "runtime_env": environment}
    try:
        if cluster.address == LOCAL:
            cpus = cluster.workers * cluster.threads
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **options)
        else:
            ray.init(address=cluster.address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(f"cluster '{cluster.address}' cannot be reached: {str(error).splitlines()[0]}") from error
    return ray, True


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except _deaths(ray) as error:
        raise RunError(f"a worker died again and again ({type(error).__name__}); start again with --resume") from error


def _deaths(ray: Any) -> tuple[type[Exception], ...]:
    names = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "RayActorError")
    return tuple(getattr(ray.exceptions, name) for name in names)


_ready: list[tuple[int, Precision]] = []


def _work(task: Callable[[Any], Any], several: bool, threads: int, precision: Precision, *parts: Any) -> Any:
    """Do one task in a worker."""
    if (threads, precision) not in _ready:
        keep_freed_memory()
        set_up(threads, precision)
        _ready[:] = [(threads, precision)]
    return task(parts if several else parts[0])
