"""MTT against its algorithm, written out."""

import math

import pytest
import torch

import tiny
from datadistill.core.errors import ConfigError
from datadistill.core.randomness import Randomness
from datadistill.core.structure import structure
from datadistill.methods import METHODS, MTT, Unrolled, step
from datadistill.unroll import draw_steps
from reference.unroll import train_and_differentiate

NEEDED = {"expert_epochs": 2, "student_steps": 3, "max_start_epoch": 2}


@pytest.mark.parametrize("strategy", ["adjoint", "stored"])
@pytest.mark.parametrize("batch_syn", [None, 4, 5])
def test_one_iteration_is_the_algorithm_of_the_paper(store, strategy, batch_syn):
    method = MTT(**NEEDED, batch_syn=batch_syn, student_lr=0.05)
    problem = tiny.problem(store, dtype=torch.float64, strategy=strategy)
    rng = Randomness(5).at(3)
    state = method.init(problem, Randomness(5))
    metrics, gradients = method.gradient(problem, state, rng)

    segment = problem.experts.sample(span=2, start_before=2, generator=rng.stream("expert"))
    start, target = segment.start.double(), segment.target.double()
    expected = train_and_differentiate(
        problem.network,
        problem.augment,
        start,
        state.images,
        state.targets,
        state.student_lr,
        draw_steps(rng, problem.augment, images=6, steps=3, batch_size=batch_syn, device=problem.device),
        lambda end: (end - target).norm() ** 2 / (start - target).norm() ** 2,
    )
    assert metrics["matching_loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-12)
    assert metrics["student_lr"].item() == pytest.approx(0.05)
    assert set(gradients) == {"images", "student_lr"}
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-14)


def test_an_iteration_descends_by_its_rates(store):
    method = MTT(**NEEDED, student_lr=0.05, image_lr=3.0, student_lr_lr=1e-3, momentum=0.5)
    problem, rng = tiny.problem(store), Randomness(0)
    state = method.init(problem, rng)
    _, gradients = method.gradient(problem, state, rng.at(1))
    images, student_lr = state.images.clone(), state.student_lr.clone()
    step(method, problem, state, rng.at(1))
    torch.testing.assert_close(state.images, images - 3.0 * gradients["images"])
    torch.testing.assert_close(state.student_lr, student_lr - 1e-3 * gradients["student_lr"], rtol=1e-4, atol=0)


def test_the_strategies_walk_the_same_way(store):
    method, ends = tiny.SETTINGS["mtt"].method, []
    for strategy in ("adjoint", "stored"):
        problem = tiny.problem(store, network=tiny.SMOOTH_NETWORK, dtype=torch.float64, strategy=strategy)
        state = method.init(problem, Randomness(0))
        for i in range(1, 6):
            step(method, problem, state, Randomness(0).at(i))
        ends.append(method.export(problem, state))
    torch.testing.assert_close(ends[0].images, ends[1].images, rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(ends[0].student_lr, ends[1].student_lr, rtol=1e-10, atol=0)


@pytest.mark.parametrize(("expert_epochs", "max_start_epoch", "needed"), [(1, 1, 1), (2, 4, 5), (3, 25, 27)])
def test_needs_experts_up_to_the_latest_target(expert_epochs, max_start_epoch, needed):
    method = MTT(expert_epochs=expert_epochs, student_steps=1, max_start_epoch=max_start_epoch)
    assert method.needs == {"experts"}
    assert method.expert_epochs_needed == needed


def test_says_how_far_it_unrolls():
    assert MTT(**NEEDED, batch_syn=7).unrolled == Unrolled(3, 7)
    assert MTT(**NEEDED, segments=2).unrolled == Unrolled(3, None, 2)


def test_the_defaults_are_those_of_the_reference_implementation():
    method = MTT(**NEEDED)
    assert (method.batch_syn, method.image_lr, method.student_lr_lr) == (None, 1000.0, 1e-5)
    assert (method.student_lr, method.momentum) == (0.01, 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"expert_epochs": 0},
        {"student_steps": 0},
        {"max_start_epoch": 0},
        {"batch_syn": 0},
        {"student_lr": 0.0},
        {"student_lr": math.nan},
        {"image_lr": -1.0},
        {"image_lr": math.nan},
        {"student_lr_lr": -1e-9},
        {"momentum": 1.0},
        {"momentum": -0.1},
    ],
    ids=str,
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MTT(**{**NEEDED, **wrong})
    with pytest.raises(ConfigError, match=r"recipe x: method\.mtt: "):
        structure(METHODS["mtt"].cls, {**NEEDED, **wrong}, source="recipe x", key="method.mtt")


def test_a_problem_that_lacks_something_is_refused(store):
    method = MTT(**NEEDED)
    bare = tiny.problem(None)
    state = method.init(bare, Randomness(0))
    with pytest.raises(ValueError, match="needs experts"):
        method.gradient(bare, state, Randomness(0))
    with pytest.raises(ValueError, match="no engine"):
        bare.__class__.require_unroll(tiny.replace(bare, unroll=None))
