"""Several trainings of one iteration, spread over workers that stay."""

from pathlib import Path

import pytest

from datadistill.config import load_recipe
from datadistill.runtime.executor import Executor, InProcess, SideBySide, SpawnPool
from datadistill.runtime.ray_cluster import RayCluster
from datadistill.stages import open_run, run_distill, run_experts
from system.tiny_run import RECIPE, TINY

SEVERAL = ("method.mtt.segments=3", "iterations=10", "watch.checkpoint_every=10", "watch.probe_every=0", "threads=1")


STARTS = (
    "validation=60",
    "iterations=6",
    "method.backprop.networks=3",
    "watch.log_every=2",
    "watch.checkpoint_every=2",
    "engine.strategy=adjoint",
    "engine.compiled=no",
)


def plus(held: int, argument: int) -> int:
    return held + argument


def files(folder: Path, *settings: str, recipe: str = RECIPE) -> list[bytes]:
    session = open_run(folder / "run", load_recipe(recipe, settings), device="cpu")
    run_experts(session)
    run_distill(session)
    return [(session.run.synthetic / "synthetic.safetensors").read_bytes(), session.run.metrics.read_bytes()]


@pytest.mark.parametrize("executor", [InProcess(), SideBySide(2), SpawnPool(2)])
def test_results_come_in_the_order_of_the_arguments(executor: Executor) -> None:
    with executor.crew(100) as spread:
        assert spread(plus, range(7)) == [100 + i for i in range(7)]
        assert spread(plus, []) == []


@pytest.mark.slow
@pytest.mark.parametrize("settings", [("workers=2",), ("workers=3",), ("workers=2", "cluster=local")])
def test_segments_of_an_iteration_give_the_same_bytes_whoever_matches_them(
    tmp_path: Path, settings: tuple[str, ...]
) -> None:
    if "cluster=local" in settings:
        pytest.importorskip("ray")
    assert files(tmp_path / "many", *TINY, *SEVERAL, *settings) == files(tmp_path / "one", *TINY, *SEVERAL)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [("workers=2",), ("workers=3",), ("workers=2", "cluster=local")])
def test_networks_of_an_iteration_give_the_same_bytes_whoever_trains_them(
    tmp_path: Path, settings: tuple[str, ...]
) -> None:
    if "cluster=local" in settings:
        pytest.importorskip("ray")
    many = files(tmp_path / "many", *STARTS, *settings, recipe="dd_digits")
    assert many == files(tmp_path / "one", *STARTS, recipe="dd_digits")


@pytest.mark.slow
def test_a_cluster_does_the_same() -> None:
    pytest.importorskip("ray")
    with RayCluster(workers=2).crew(100) as spread:
        assert spread(plus, range(7)) == [100 + i for i in range(7)]
