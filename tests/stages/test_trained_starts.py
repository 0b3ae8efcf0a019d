"""Dataset Distillation in its stages: from networks trained on another set, and against ones trained on this."""

import json
from pathlib import Path

import numpy as np
import pytest

from datadistill.config import load_recipe
from datadistill.stages import Session, open_run, run_distill, run_experts
from datadistill.stages.distill import make_problem
from datadistill.synthetic.artifact import load_artifact

TINY = (
    "validation=60",
    "iterations=4",
    "full.networks=0",
    "watch.log_every=2",
    "watch.checkpoint_every=2",
    "watch.probe_every=0",
    "method.backprop.networks=2",
    "method.backprop.initial_weights=teachers",
    "teachers.count=2",
    "teachers.training.epochs=1",
    "engine.compiled=no",
)


def distilled(folder: Path, *settings: str) -> Session:
    session = open_run(folder / "run", load_recipe("dd_digits", (*TINY, *settings)), device="cpu")
    run_experts(session)
    run_distill(session)
    return session


def test_networks_trained_on_another_set_start(tmp_path: Path) -> None:
    labels = np.arange(120) % 10
    images = np.random.default_rng(0).integers(0, 255, (120, 8, 8), dtype=np.uint8)
    path = tmp_path / "source.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])
    session = distilled(tmp_path, f"teachers.dataset={path}")
    problem = make_problem(session)
    assert len(problem.require_teachers()) == 2
    assert problem.source is not None
    artifact = load_artifact(session.run.synthetic)
    order, rates = artifact.synthetic.order, artifact.synthetic.student_lr
    assert order is not None
    assert rates is not None
    assert order.shape == (6, 10)
    assert rates.shape == (6,)
    assert artifact.card.hyper_parameters["initial_weights"] == "teachers"


@pytest.mark.parametrize("strategy", ["stored", "adjoint"])
def test_networks_trained_on_this_set_are_attacked(tmp_path: Path, strategy: str) -> None:
    attack = ("method.backprop.attack_class=3", "method.backprop.target_class=5", "method.backprop.passes=1")
    session = distilled(tmp_path, f"engine.strategy={strategy}", *attack)
    assert session.plan.strategy == strategy
    rows = [json.loads(line) for line in session.run.metrics.read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert all(set(row) == {"iteration", "real_loss", "student_lr"} for row in rows)
    card = load_artifact(session.run.synthetic).card
    assert (card.hyper_parameters["attack_class"], card.hyper_parameters["target_class"]) == (3, 5)
