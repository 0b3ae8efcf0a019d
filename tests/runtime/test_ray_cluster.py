"""What a Ray cluster does beside giving results: workers and nodes that die, and room that is not there.

Ray itself is played: only its answers matter here. The tests marked slow have a real one.
"""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from datadistill.core.errors import RunError
from datadistill.runtime import ray_cluster
from datadistill.runtime.ray_cluster import RayCluster


class RayTaskError(Exception):
    cause = ValueError("of the task")


class GoneError(Exception):
    pass


DEATHS = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "RayActorError", "ObjectLostError")


class Play:
    """A Ray whose workers do a task when they are waited for, unless they are to die at that moment."""

    exceptions = SimpleNamespace(RayTaskError=RayTaskError, **dict.fromkeys(DEATHS, GoneError))

    def __init__(self, *, deaths: int = 0, rooms: int = 100, nodes: Sequence[dict[str, float]] = ()) -> None:
        self.deaths, self.rooms, self.there = deaths, rooms, nodes
        self.hired = 0
        self.work: dict[int, Any] = {}

    def put(self, value: Any) -> Any:
        return value

    def remote(self, **options: Any) -> Any:
        def wrapped(thing: Any) -> Any:
            return SimpleNamespace(remote=lambda *given: self._made(thing, *given))

        return wrapped

    def _made(self, thing: Any, *given: Any) -> Any:
        if not isinstance(thing, type):
            return self._later(lambda: thing(*given))
        self.hired += 1
        room = self.hired <= self.rooms
        actor = SimpleNamespace(held=given[-1])
        actor.ready = SimpleNamespace(remote=lambda: self._later(lambda: None, hung=not room))
        actor.do = SimpleNamespace(
            remote=lambda task, argument: self._later(lambda: task(actor.held, argument), mortal=True)
        )
        return actor

    def _later(self, work: Any, *, hung: bool = False, mortal: bool = False) -> int:
        self.work[len(self.work)] = (work, hung, mortal)
        return len(self.work) - 1

    def wait(self, references: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        return [one for one in references if not self.work[one][1]][:1], []

    def get(self, reference: int) -> Any:
        work, _, mortal = self.work[reference]
        if mortal and self.deaths:
            self.deaths -= 1
            raise GoneError
        return work()

    def kill(self, actor: Any) -> None:
        self.rooms += 1

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": node} for node in self.there]

    def is_initialized(self) -> bool:
        return True


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def begin(**options: Any) -> Play:
        ray = Play(**options)
        monkeypatch.setitem(__import__("sys").modules, "ray", ray)  # type: ignore[arg-type]
        monkeypatch.setattr(ray_cluster, "_ready", [(1, "tf32")])  # this process is set up
        return ray

    return begin


def plus(held: int, argument: int) -> int:
    return held + argument


def test_tasks_of_actors_that_died_are_given_to_others(play: Any) -> None:
    ray = play(deaths=3)
    with RayCluster(workers=2).crew(100) as spread:
        assert spread(plus, range(5)) == [100 + i for i in range(5)]
        assert spread(plus, [7]) == [107]
    assert ray.hired == 5


def test_where_there_is_room_for_fewer_those_do_it_all(play: Any) -> None:
    play(rooms=1)
    with RayCluster(workers=4).crew(100) as spread:
        assert spread(plus, range(3)) == [100, 101, 102]


def test_deaths_without_end_are_one_line(play: Any) -> None:
    play(deaths=10**6)
    with RayCluster(workers=2, retries=1).crew(0) as spread, pytest.raises(RunError, match="died again and again"):
        spread(plus, [1])


@pytest.mark.parametrize("nodes", [[], [{"CPU": 2.0}], [{"CPU": 64.0}, {"CPU": 2.0, "GPU": 8.0}]])
def test_without_a_node_for_a_task_nobody_waits(play: Any, nodes: list[dict[str, float]]) -> None:
    play(rooms=0, nodes=nodes)
    cluster = RayCluster("here:1", threads=4, gpus=1.0)
    needs = "needs 4 processors and 1 GPUs, and no node has them"
    with pytest.raises(RunError, match=needs) as caught, cluster.crew(0) as spread:
        spread(plus, [1])
    assert "\n" not in str(caught.value)


def test_tasks_are_done_and_what_they_raise_travels(play: Any) -> None:
    play()
    assert dict(RayCluster(workers=2).run(abs, [-1, 2, -3])) == {0: 1, 1: 2, 2: 3}
    with pytest.raises(TypeError):
        list(RayCluster().run(abs, ["text"]))
