"""Executors: the same results anywhere, errors travel, a dead worker is one line.

The tasks are functions of the standard library, because a fresh process must be able to import them.
"""

import math
import operator
import signal
import threading

import pytest
import torch

from datadistill.core.errors import RunError
from datadistill.runtime.executor import Executor, InProcess, SideBySide, SpawnPool, check_cancelled

POOL = SpawnPool(workers=2)


@pytest.mark.parametrize("executor", [InProcess(), SideBySide(3), SpawnPool(workers=1)], ids=repr)
def test_an_executor_yields_each_result_with_its_index(executor: Executor) -> None:
    results = dict(executor.run(math.factorial, [3, 1, 5]))
    assert results == {0: 6, 1: 1, 2: 120}


def test_a_pool_computes_the_same_bits_as_this_process() -> None:
    arguments = [torch.linspace(0, i, 7) for i in range(1, 4)]
    pooled, here = dict(POOL.run(torch.exp, arguments)), dict(InProcess().run(torch.exp, arguments))
    assert pooled.keys() == here.keys()
    assert all(torch.equal(pooled[index], here[index]) for index in here)


@pytest.mark.parametrize("executor", [InProcess(), SideBySide(2), POOL], ids=repr)
def test_no_arguments_are_no_results(executor: Executor) -> None:
    assert list(executor.run(math.factorial, [])) == []


@pytest.mark.parametrize("executor", [InProcess(), SideBySide(2), POOL], ids=repr)
def test_what_a_task_raises_travels(executor: Executor) -> None:
    with pytest.raises(ValueError, match="negative"):
        list(executor.run(math.factorial, [3, -1, 4]))


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(RunError) as caught:
        list(POOL.run(signal.raise_signal, [signal.SIGKILL, signal.SIGKILL]))
    assert "worker process died" in str(caught.value)
    assert "--resume" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_workers_have_the_number_of_threads_they_were_given() -> None:
    assert list(SpawnPool(workers=1, threads=2).run(operator.call, [torch.get_num_threads])) == [(0, 2)]


def test_side_by_side_tasks_run_at_the_same_time_with_one_thread_each() -> None:
    before = torch.get_num_threads()
    meeting = threading.Barrier(3)

    def meet(_: int) -> int:
        meeting.wait(timeout=60)  # nobody comes through alone
        return torch.get_num_threads()

    assert sorted(SideBySide(3).run(meet, [0, 1, 2])) == [(0, 1), (1, 1), (2, 1)]
    assert torch.get_num_threads() == before


def test_what_runs_beside_a_task_that_failed_is_given_up() -> None:
    begun = threading.Event()

    def work(number: int) -> None:
        if number == 0:
            begun.wait(60)
            raise ValueError("the first")
        begun.set()
        while True:
            check_cancelled()

    with pytest.raises(ValueError, match="the first"):
        list(SideBySide(2).run(work, [0, 1, 2]))
    check_cancelled()  # this thread was not


def test_in_process_results_come_one_by_one() -> None:
    seen: list[int] = []
    results = InProcess().run(seen.append, [1, 2, 3])
    next(results)
    assert seen == [1]
