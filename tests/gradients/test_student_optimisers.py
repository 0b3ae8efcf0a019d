"""Students with momentum and Adam: exact through everything that plain SGD is exact through, in float64."""

from dataclasses import replace

import pytest
import torch

from datadistill.unroll import Adam, Momentum
from datadistill.unroll.optimisers import initial_state

STRATEGIES = ("adjoint", "stored")
OPTIMISERS = [Momentum(0.9), Adam(), Adam(betas=(0.5, 0.9), eps=1e-3)]
SMOOTH = "convnet-1-w4-sigmoid-nonorm"
"""No weight has a gradient of 0 but for rounding: Adam divides by it, and the textbook formula has no derivative."""

every_optimiser = pytest.mark.parametrize("optimiser", OPTIMISERS, ids=str)
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


@every_optimiser
def test_a_training_is_that_of_torch(optimiser):
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(7, generator=generator, dtype=torch.float64)
    theirs = params.clone().requires_grad_()
    state = initial_state(optimiser, params)
    if isinstance(optimiser, Momentum):
        torchs = torch.optim.SGD([theirs], lr=0.1, momentum=optimiser.momentum)
    else:
        torchs = torch.optim.Adam([theirs], lr=0.1, betas=optimiser.betas, eps=optimiser.eps)
    for done in range(6):
        theirs.grad = torch.randn(7, generator=generator, dtype=torch.float64)
        theirs.grad[0] = 0.0  # a weight that nothing moves
        state = optimiser.update(state, theirs.grad, torch.tensor(0.1, dtype=torch.float64), done)
        torchs.step()
        torch.testing.assert_close(state[0], theirs.detach(), rtol=1e-12, atol=1e-12)


@every_strategy
@every_optimiser
class TestAgainstTheReference:
    @pytest.mark.parametrize("rates", [1, 5])
    def test_all_steps(self, case, agree, optimiser, strategy, rates):
        problem = case(SMOOTH, steps=5, rates=rates, lr=0.02, augment="dsa", optimiser=optimiser)
        agree(problem.ours(strategy), problem.reference())

    @pytest.mark.parametrize("window", [1, 3])
    def test_a_window(self, case, agree, optimiser, strategy, window):
        problem = case(SMOOTH, steps=7, rates=7, lr=0.02, window=window, optimiser=optimiser)
        agree(problem.ours(strategy), problem.reference())

    def test_the_nearest_end_point(self, case, agree, optimiser, strategy):
        place = case(SMOOTH, steps=3, lr=0.02, optimiser=optimiser).reference()["params"] + 1e-6
        problem = case(SMOOTH, steps=6, lr=0.02, optimiser=optimiser)
        problem = problem.with_options(nearest=lambda end: (end - place).abs().sum(), window=2, optimiser=optimiser)
        ours = problem.ours(strategy)
        assert ours.end_step == 3
        agree(ours, problem.reference())


@every_optimiser
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("keep_every", [3, 9])
def test_states_that_are_computed_again_are_the_same_bits(case, optimiser, keep_every, window):
    problem = case(SMOOTH, steps=7, lr=0.02, augment="dsa", optimiser=optimiser, window=window)
    plain, sparse = problem.ours(), problem.ours(keep_every=keep_every, keep_on_host=True)
    for name in ("loss", "params", "images", "targets", "student_lr"):
        assert torch.equal(getattr(plain, name), getattr(sparse, name)), name


@pytest.mark.parametrize("keep_every", [2, 3])
def test_plain_weights_before_a_window_are_not_kept_and_the_bits_stay(case, keep_every):
    problem = case(steps=7, window=4)
    plain, sparse = problem.ours(), problem.ours(keep_every=keep_every)
    assert torch.equal(plain.images, sparse.images)


@every_optimiser
def test_micro_batches(case, agree, optimiser):
    problem = case(SMOOTH, steps=3, lr=0.02, optimiser=optimiser)
    agree(problem.ours(micro_batch=2), problem.reference())


@every_strategy
@every_optimiser
def test_weights_that_nothing_moves_do_no_harm(case, optimiser, strategy):
    """Behind a ReLU that is shut for good gradients are exactly 0."""
    problem = case("mlp", steps=4, lr=0.02)
    start = problem.start.clone()
    dead = start[: start.numel() // 2]
    dead.copy_(-dead.abs())
    problem = replace(problem, start=start, images=problem.images.abs(), options={"optimiser": optimiser})
    ours = problem.ours(strategy)
    for name in ("params", "images", "targets", "student_lr"):
        assert getattr(ours, name).isfinite().all(), name


def test_momentum_of_nothing_is_plain_sgd(case, agree):
    agree(case(SMOOTH, optimiser=Momentum(0.0)).ours(), case(SMOOTH).reference())


@pytest.mark.parametrize("optimiser", OPTIMISERS[:2], ids=str)
def test_thirty_steps_of_a_network_with_kinks(case, agree, optimiser):
    problem = case("convnet-1-w4-nonorm", steps=30, lr=0.01, batch_size=3, optimiser=optimiser)
    agree(problem.ours("adjoint"), problem.ours("stored"), 1e-9)


def test_wrong_settings_are_refused(case):
    with pytest.raises(ValueError, match="truncated rule is for plain SGD"):
        case(optimiser=Adam(), truncated=True).ours()
    with pytest.raises(ValueError, match="momentum must be in"):
        Momentum(1.0)
    with pytest.raises(ValueError, match="betas must be in"):
        Adam(eps=0.0)
