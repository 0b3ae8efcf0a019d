"""Divided runs: the same bytes whoever distils the groups, and the groups joined row by row."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datadistill.config import load_recipe
from datadistill.core.errors import ConfigError, UsageError
from datadistill.pipeline import run_stages
from datadistill.runtime.rundir import RunDir
from datadistill.stages import Session, open_run, run_distill, run_experts
from datadistill.stages.distill import bare_problem
from datadistill.stages.groups import group_config, groups_of, joined
from datadistill.synthetic.artifact import load_artifact
from datadistill.synthetic.pictures import read_grid
from system.tiny_run import RECIPE, TINY

DIVIDED = ("ipc=4", "groups=2", "iterations=10", "watch.checkpoint_every=10", "threads=1")


def opened(folder: Path, *settings: str) -> Session:
    return open_run(folder / "run", load_recipe(RECIPE, (*TINY, *DIVIDED, *settings)), device="cpu")


def distilled(folder: Path, *settings: str) -> Session:
    session = opened(folder, *settings)
    run_experts(session)
    run_distill(session)
    return session


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return distilled(tmp_path_factory.mktemp("divided"))


def bytes_of(session: Session) -> dict[str, bytes]:
    run = session.run
    return {name: (run.distill / name).read_bytes() for name in ("synthetic/synthetic.safetensors", "metrics.jsonl")}


def test_groups_start_from_the_images_of_the_undivided_run_each_from_other_ones(whole: Session) -> None:
    undivided = bare_problem(replace(whole, config=replace(whole.config, groups=1)))
    shares = [
        bare_problem(replace(whole, config=group_config(whole.config, whole.plan, j))).initial_images for j in (0, 1)
    ]
    k = whole.data.classes
    both = torch.stack([share.unflatten(0, (k, 2)) for share in shares], 1).flatten(0, 2)
    assert torch.equal(both, undivided.initial_images)


def test_the_joined_set_holds_the_groups_class_by_class(whole: Session) -> None:
    made = load_artifact(whole.run.synthetic)
    parts = [load_artifact(RunDir(group.root).synthetic) for group in groups_of(whole)]
    assert made.card.ipc == 4
    assert made.card.trained_by["joined"] == {"groups": 2, "checksums": [part.card.checksum for part in parts]}
    for label in range(whole.data.classes):
        rows = made.synthetic.images[4 * label : 4 * label + 4]
        expected = [part.synthetic.images[2 * label : 2 * label + 2] for part in parts]
        assert torch.equal(rows, torch.cat(expected))
    assert torch.equal(made.labels, torch.arange(whole.data.classes).repeat_interleave(4))
    rates = torch.stack([part.synthetic.student_lr for part in parts])
    assert torch.equal(made.synthetic.student_lr, rates.mean(0))
    assert not torch.equal(*(part.synthetic.student_lr for part in parts)), "both groups drew the same"


def test_metrics_are_the_means_of_the_groups(whole: Session) -> None:
    def rows(path: Path) -> list[dict[str, float]]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    parts = [rows(RunDir(group.root).metrics) for group in groups_of(whole)]
    means = rows(whole.run.metrics)
    assert len(means) == len(parts[0])
    for mean, one, other in zip(means, *parts, strict=True):
        for key in set(mean) - {"iteration"}:
            assert mean[key] == pytest.approx((one[key] + other[key]) / 2, rel=1e-12)


def test_pictures_on_the_way_are_those_of_the_joined_set(whole: Session) -> None:
    frames = sorted(whole.run.frames.glob("*.png"))
    assert [path.stem for path in frames] == ["iteration_000000", "iteration_000010"]
    k, size = whole.data.classes, whole.data.card.shape[1:]
    made = load_artifact(whole.run.synthetic)
    pixels = made.preprocess.to_pixels(made.synthetic.images).clamp(0, 1)
    assert (read_grid(frames[-1], size, 4, 4 * k) - pixels).abs().max() < 0.51 / 255


def test_groups_are_the_same_run_one_by_one(whole: Session, tmp_path: Path) -> None:
    """A group is a run like any other: opened and distilled by itself, it gives the same bytes."""
    session = opened(tmp_path)
    run_experts(session)
    for group in reversed(groups_of(session)):
        run_distill(group.open())
    run_distill(session)
    assert bytes_of(session) == bytes_of(whole)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_gives_the_same_bytes(whole: Session, tmp_path: Path, workers: int) -> None:
    assert bytes_of(distilled(tmp_path, f"workers={workers}")) == bytes_of(whole)


@pytest.mark.slow
def test_ray_gives_the_same_bytes(whole: Session, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert bytes_of(distilled(tmp_path, "workers=2", "cluster=local")) == bytes_of(whole)


APM = (
    "network=convnet-1-w8",
    "iterations=6",
    "teachers.training.epochs=1",
    "method.apm.student_epochs=4",
    "method.apm.snapshots=2",
    "watch.probe_every=0",
    "watch.checkpoint_every=3",
    "engine.compiled=no",
)


@pytest.mark.slow
def test_groups_of_apm_and_its_teachers_are_the_same_whoever_makes_them(tmp_path: Path) -> None:
    pytest.importorskip("ray")

    def made(name: str, *settings: str) -> list[bytes]:
        config = load_recipe("apm_digits", (*APM, "ipc=4", "groups=2", "threads=1", *settings))
        session = open_run(tmp_path / name / "run", config, device="cpu")
        run_experts(session)
        run_distill(session)
        hard = session.run.variant("hard_labels") / "synthetic.safetensors"
        return [*bytes_of(session).values(), hard.read_bytes()]

    assert made("pool", "workers=2") == made("ray", "workers=2", "cluster=local") == made("one")


def test_a_run_stopped_between_groups_goes_on_with_the_others(whole: Session, tmp_path: Path) -> None:
    session = opened(tmp_path)
    run_experts(session)
    run_distill(session, stop=lambda: True)
    done = [RunDir(group.root).is_done("distill") for group in groups_of(session)]
    assert done == [True, False]
    assert not session.run.is_done("distill")
    first = (session.run.group(0) / "distill" / "synthetic" / "card.json").stat().st_mtime_ns
    run_distill(open_run(session.run.root, device="cpu"))
    assert (session.run.group(0) / "distill" / "synthetic" / "card.json").stat().st_mtime_ns == first
    assert bytes_of(session) == bytes_of(whole)


def test_a_divided_run_ends_in_a_report(whole: Session) -> None:
    outcome = run_stages(open_run(whole.run.root, device="cpu"))
    assert outcome.report.is_file()
    assert outcome.evaluations["default"].results["synthetic"].images == 4 * whole.data.classes


def test_what_cannot_be_divided_is_refused(whole: Session) -> None:
    with pytest.raises(ConfigError, match=r"ipc \(4\) must be a multiple of groups \(3\)"):
        load_recipe(RECIPE, (*TINY, *DIVIDED, "groups=3"))
    with pytest.raises(ConfigError, match="have an order of their own and are not joined"):
        load_recipe("dd_mnist_ipc10", ("groups=2", "ipc=20"))
    part = load_artifact(RunDir(groups_of(whole)[0].root).synthetic)
    ordered = replace(part, synthetic=replace(part.synthetic, order=torch.zeros(1, 1, dtype=torch.int64)))
    with pytest.raises(UsageError, match="cannot be joined"):
        joined([ordered, ordered])
