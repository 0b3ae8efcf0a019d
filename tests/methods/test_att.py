"""ATT: MTT where the last step is the nearest, the k of a plain search elsewhere."""

from dataclasses import replace

import pytest
import torch

import tiny
from datadistill.core.randomness import Randomness
from datadistill.methods import ATT, MTT

NEEDED = {"expert_epochs": 2, "student_steps": 6, "max_start_epoch": 2}


@pytest.fixture(params=["adjoint", "stored"])
def problem(request, store):
    return tiny.problem(store, network=tiny.SMOOTH_NETWORK, dtype=torch.float64, strategy=request.param)


def found(method, problem, iteration=1):
    state = method.init(problem, Randomness(0).at(0))
    return method.gradient(problem, state, Randomness(0).at(iteration))


def by_hand(method, problem, iteration, norm):
    """Return k and the gradients by trying every number of steps with MTT and taking the nearest."""
    rng = Randomness(0).at(iteration)
    state = method.init(problem, Randomness(0).at(0))
    segment, steps = method.draw(problem, state, rng)
    ends = [
        problem.unroll(
            segment.start,
            state.images,
            state.targets,
            state.student_lr,
            replace(steps, rows=steps.rows[:n]),
            lambda end: (end - segment.target).square().sum() / (segment.start - segment.target).square().sum(),
        )
        for n in range(1, len(steps) + 1)
    ]
    distances = torch.stack([(end.params - segment.target).norm(p=norm) for end in ends])
    k = int(distances.argmin()) + 1
    return k, ends[k - 1]


@pytest.mark.parametrize(("select_norm", "norm"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("batch_syn", [None, 4])
def test_ends_at_the_nearest_step_and_differentiates_up_to_it(problem, select_norm, norm, batch_syn):
    seen = set()
    for student_lr in (0.02, 0.5, 3.0):
        method = ATT(**NEEDED, select_norm=select_norm, batch_syn=batch_syn, student_lr=student_lr)
        for iteration in (1, 2, 3):
            metrics, gradients = found(method, problem, iteration)
            k, expected = by_hand(method, problem, iteration, norm)
            assert metrics["end_step"].item() == k
            torch.testing.assert_close(metrics["matching_loss"], expected.loss, rtol=1e-10, atol=0)
            torch.testing.assert_close(gradients["images"], expected.images, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(gradients["student_lr"], expected.student_lr, rtol=1e-10, atol=1e-12)
            seen.add(k)
    assert len(seen) > 1, "always the same step: nothing was chosen"


def test_is_mtt_where_the_last_step_is_the_nearest(problem):
    settings = {**NEEDED, "student_lr": 1e-4}
    metrics, gradients = found(ATT(**settings), problem)
    assert metrics["end_step"].item() == NEEDED["student_steps"]
    plain, expected = found(MTT(**settings), problem)
    assert torch.equal(metrics["matching_loss"], plain["matching_loss"])
    assert all(torch.equal(gradients[name], expected[name]) for name in expected)
