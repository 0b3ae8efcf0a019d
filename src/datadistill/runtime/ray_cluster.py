"""Run independent tasks on a Ray cluster: one of its own on this machine, or one that is there already."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
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

_PATIENCE = 30.0
"""Seconds without a result after which we look whether any node could still give one."""


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
            RunError: If the cluster cannot be reached, no node has room for a task, or a worker died more often than
                ``retries``.
            UsageError: If Ray is not installed.
        """
        with _connected(self) as ray:
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
                done = _next(ray, list(running), self)
                index = running.pop(done)
                try:
                    result = _result(ray, done)
                except _deaths(ray) as error:
                    raise _given_up(error) from error
                yield index, result

    @contextmanager
    def crew(self, held: Any) -> Iterator[Spread]:
        """Yield what does tasks on ``held`` in actors that stay; one that dies is replaced, its task repeated.

        Raises:
            RunError: If the cluster cannot be reached, no node has room, or actors died again and again.
            UsageError: If Ray is not installed.
        """
        with _connected(self) as ray:
            yield _Crew(ray, self, ray.put(held))


class _Actor:
    def __init__(self, threads: int, precision: Precision, held: Any) -> None:
        keep_freed_memory()
        set_up(threads, precision)
        self.held = held

    def ready(self) -> None:
        """Answer, as soon as there is somebody to."""

    def do(self, task: Callable[[Any, Any], Any], argument: Any) -> Any:
        return task(self.held, argument)


class _Crew:
    """Actors and what they do. Only those that have started are given tasks: a cluster may have room for fewer."""

    def __init__(self, ray: Any, cluster: RayCluster, held: Any) -> None:
        self.ray, self.cluster, self.held = ray, cluster, held
        options = {"num_cpus": cluster.threads, "num_gpus": cluster.gpus, "scheduling_strategy": "SPREAD"}
        self.actor = ray.remote(**options)(_Actor)
        self.coming: dict[Any, Any] = {}
        self.idle: list[Any] = []
        self.deaths = 0  # since the last answer
        for _ in range(cluster.workers):
            self._hire()

    def _hire(self) -> None:
        actor = self.actor.remote(self.cluster.threads, self.cluster.precision, self.held)
        self.coming[actor.ready.remote()] = actor

    def _replace(self, actor: Any, death: Exception) -> None:
        """Let a new actor come for one that is gone.

        Raises:
            RunError: If they die again and again.
        """
        self.deaths += 1
        if self.deaths > self.cluster.retries * self.cluster.workers:
            raise _given_up(death) from death
        with suppress(Exception):  # it may live where we cannot see it, and keep the room of its successor
            self.ray.kill(actor)
        self._hire()

    def __call__(self, task: Callable[[Any, Any], Any], arguments: Sequence[Any]) -> list[Any]:
        waiting, results = list(range(len(arguments)))[::-1], dict[int, Any]()
        running: dict[Any, tuple[Any, int]] = {}
        while len(results) < len(arguments):
            while waiting and self.idle:
                actor, index = self.idle.pop(), waiting.pop()
                running[actor.do.remote(task, arguments[index])] = actor, index
            done = _next(self.ray, [*running, *self.coming], self.cluster)
            given = running.pop(done, None)
            actor = given[0] if given else self.coming.pop(done)
            try:
                answer = _result(self.ray, done)
            except _deaths(self.ray) as error:
                waiting += [given[1]] if given else []
                self._replace(actor, error)
                continue
            self.idle.append(actor)
            if given:
                results[given[1]], self.deaths = answer, 0
        return [results[index] for index in range(len(arguments))]


@contextmanager
def _connected(cluster: RayCluster) -> Iterator[Any]:
    """Yield Ray, connected; what is connected here is let go again.

    What Ray prints meanwhile of workers that died goes to standard error: standard output is for results.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError('cluster: Ray is not installed; pip install "datadistill[ray]"') from error
    if ray.is_initialized():
        yield ray
        return
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
    try:
        with redirect_stdout(sys.stderr):
            yield ray
    finally:
        ray.shutdown()


def _next(ray: Any, references: list[Any], cluster: RayCluster) -> Any:
    """Return one of these that has ended, waiting as long as there is a node on which one could.

    Raises:
        RunError: If there is none: Ray would wait for one to come.
    """
    while True:
        done, _ = ray.wait(references, num_returns=1, timeout=_PATIENCE)
        if done:
            return done[0]
        wanted = {"CPU": cluster.threads, "GPU": cluster.gpus}
        nodes = [{kind: node["Resources"].get(kind, 0) for kind in wanted} for node in ray.nodes() if node["Alive"]]
        if not any(all(node[kind] >= count for kind, count in wanted.items()) for node in nodes):
            have = ", ".join(f"{node['CPU']:g} and {node['GPU']:g}" for node in nodes) or "there are none"
            raise RunError(
                f"cluster '{cluster.address}': a task needs {cluster.threads} processors and {cluster.gpus:g} GPUs, "
                f"and no node has them ({have}); start again with --resume when one has, or a run with other 'threads'"
            )


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error


def _deaths(ray: Any) -> tuple[type[Exception], ...]:
    """Return what Ray raises where a worker, or the node with its result, is gone."""
    names = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "RayActorError", "ObjectLostError")
    return tuple(getattr(ray.exceptions, name) for name in names)


def _given_up(error: Exception) -> RunError:
    return RunError(f"a worker died again and again ({type(error).__name__}); start again with --resume")


_ready: list[tuple[int, Precision]] = []


def _work(task: Callable[[Any], Any], several: bool, threads: int, precision: Precision, *parts: Any) -> Any:
    """Do one task in a worker."""
    if (threads, precision) not in _ready:
        keep_freed_memory()
        set_up(threads, precision)
        _ready[:] = [(threads, precision)]
    return task(parts if several else parts[0])
