"""Gradient matching against the joint graph in float64, its loops, and what it refuses."""

from dataclasses import replace

import jaxtyping
import pytest
import torch

import tiny
from datadistill.core.randomness import Randomness
from datadistill.methods import DC, DM, step
from datadistill.methods.base import begin
from datadistill.methods.dc import loops
from datadistill.training.fit import Examples, Fitted, fit
from datadistill.training.schedules import TrainingRecipe
from datadistill.unroll import matching
from reference.class_matching import gradient_matching
from reference.training import as_module

RNG = Randomness(3).at(5)


def doubles(augment="none", network=tiny.SMOOTH_NETWORK):
    return tiny.problem(None, augment=augment, network=network, dtype=torch.float64)


def batches_of(method, problem, state, images):
    """Augmented batches whose synthetic part depends on ``images``."""
    draws = problem.augment.draw(RNG.stream("augment"), steps=tiny.CLASSES, batch=1)
    reals = [pair.real for pair in method.pairs(problem, state, RNG)]
    parts = images.split(tiny.IPC)
    seen = [problem.augment.apply(part, draws[label]) for label, part in enumerate(parts)]
    return [(reals[label], seen[label], label) for label in range(tiny.CLASSES)]


@pytest.mark.parametrize("together", [3, 64])
@pytest.mark.parametrize("augment", ["none", "dsa"])
@pytest.mark.parametrize("distance", ["ours", "mse", "cos"])
def test_a_whole_step_equals_the_joint_graph(distance, augment, together, monkeypatch):
    """However many real images are differentiated at once."""
    monkeypatch.setattr(matching, "_TOGETHER", together)
    problem, method = doubles(augment), DC(distance=distance, batch_real=8)
    state = begin(method, problem, RNG)
    metrics, gradients = method.gradient(problem, state, RNG)
    images = state.images.clone().requires_grad_()
    total = gradient_matching(
        as_module(problem.network, state.params), batches_of(method, problem, state, images), distance
    )
    assert metrics["gradient_distance"].item() == pytest.approx(total.item(), rel=1e-10)
    (expected,) = torch.autograd.grad(total, images)
    assert float((gradients["images"] - expected).norm() / expected.norm()) < 1e-10


def test_real_and_synthetic_images_share_their_draws():
    problem, method = doubles("dsa:crop@multiple"), DC(batch_real=6)
    state = begin(method, problem, RNG)
    draws = problem.augment.draw(RNG.stream("augment"), steps=tiny.CLASSES, batch=1)
    seen = []
    for pair in method.pairs(problem, state, RNG):
        own = draws[pair.label]
        seen.append(own.uniforms.tolist())
        assert own.uniforms.shape[0] == 1
        assert torch.equal(pair.synthetic, problem.augment.apply(pair.leaf, own))
        plain = next(p for p in method.pairs(doubles(), state, RNG) if p.label == pair.label)
        assert torch.equal(pair.real, problem.augment.apply(plain.real, own))
    assert seen[0] != seen[1], "two classes share their draws"


def test_real_images_are_of_the_class_and_distinct_and_a_small_class_gives_all():
    problem = doubles()
    labels = problem.data.train.labels
    for wanted, expected in ((7, 7), (1000, 20)):
        for pair in DC(batch_real=wanted).pairs(problem, begin(DC(), problem, RNG), RNG):
            of_class = problem.preprocess(problem.data.train.images[labels == pair.label]).double()
            matches = (pair.real[:, None] == of_class[None]).flatten(2).all(2)
            assert len(pair.real) == expected
            assert matches.any(1).all()
            assert matches.sum(0).max() == 1


@pytest.mark.parametrize(
    ("ipc", "expected"),
    [(1, (1, 1)), (10, (10, 50)), (20, (20, 25)), (30, (30, 20)), (40, (40, 15)), (50, (50, 10)), (2, (2, 250)),
     (5, (5, 100)), (100, (50, 10)), (1250, (50, 10))],
)  # fmt: skip
def test_loops(ipc, expected):
    assert loops(ipc) == expected


def test_the_network_is_trained_on_the_set_between_updates_and_renewed_at_the_end():
    problem, method = doubles(), DC(outer_loop=3, inner_loop=2, batch_real=8, network_lr=0.1, batch_train=4)
    rng, network = Randomness(0), problem.network
    state = begin(method, problem, rng)
    for iteration in range(1, 8):
        before = state.params.clone()
        step(method, problem, state, rng.at(iteration))
        if iteration % 3 == 0:
            expected = network.initial(rng.at(iteration).stream("network")).double()
        else:
            recipe = TrainingRecipe(epochs=2, batch_size=4, lr=0.1)
            examples, start = Examples(state.images, state.targets), Fitted.start(network, before)
            epochs = fit(network, start, examples, recipe, problem.augment, rng.at(iteration).child("inner"))
            expected = [epoch.params.clone() for epoch in epochs][-1]
        assert torch.equal(state.params, expected), iteration


def test_the_absent_loops_are_those_of_the_size():
    assert DC().loops(doubles()) == (2, 250)
    assert DC(outer_loop=5).loops(doubles()) == (5, 250)
    assert DC(inner_loop=0).loops(doubles()) == (2, 0)


def test_operations_are_counted_in_forward_passes():
    """A gradient is 3 of them, one through it 12; on 2 images of 3 classes the network is trained between updates."""
    method = DC(batch_real=8, outer_loop=4, inner_loop=8)
    assert method.forwards(6, 3) == 3 * 8 * 3 + 12 * 6 + 3 * 6 * 8 * 3 // 4
    assert replace(method, inner_loop=0).forwards(6, 3) == 3 * 8 * 3 + 12 * 6
    assert DC().forwards(10, 10) == DC(inner_loop=0).forwards(10, 10), "one image per class: no training in between"
    assert DC().forwards(100, 10) > DC(inner_loop=0).forwards(100, 10)
    assert DM(batch_real=8).forwards(6, 3) == 8 * 3 + 3 * 6, "real images pass forward only"


def test_batch_norm_is_given_the_statistics_of_real_images():
    problem = doubles(network="convnet-1-w4-batchnorm")
    method = DC(batch_real=8, outer_loop=9, inner_loop=1)
    state = begin(method, problem, RNG)
    given = method._statistics(problem, state, RNG)
    published = replace(method, statistics_weight=0.1)._statistics(problem, state, RNG)
    torch.testing.assert_close(published, 0.9 * state.statistics + 0.1 * given)
    assert not torch.allclose(given, state.statistics)
    _, gradients = method.gradient(problem, state, RNG)
    others = replace(method, statistics_weight=0.1).gradient(problem, state, RNG)[1]
    assert not torch.allclose(gradients["images"], others["images"])
    step(method, problem, state, RNG)
    assert not torch.allclose(state.statistics, given), "training on the set moves them on"


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_real": 0},
        {"image_lr": 0.0},
        {"momentum": 1.0},
        {"outer_loop": 0},
        {"inner_loop": -1},
        {"statistics_weight": 0.0},
        {"statistics_weight": 1.5},
    ],
    ids=str,
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DC(**wrong)


def test_a_set_that_is_not_sorted_is_refused():
    problem = doubles()
    mixed = replace(problem, initial_targets=problem.initial_targets.roll(1, 0))
    with pytest.raises(ValueError, match="sorted by class"):
        DC(batch_real=4).gradient(mixed, begin(DC(), mixed, RNG), RNG)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch of itself
@pytest.mark.parametrize(
    ("distance", "network"),
    [("ours", "convnet-2-w8"), ("cos", tiny.SMOOTH_NETWORK), ("ours", "convnet-1-w4-batchnorm")],
)
def test_a_compiled_step_is_the_eager_one(distance, network, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # dynamo cannot trace the checks
    torch._dynamo.reset()
    problem, method = doubles("dsa", network), DC(distance=distance, batch_real=8, outer_loop=3, inner_loop=1)
    ends = []
    for compiled in (False, True):
        given = replace(problem, compiled=compiled)
        state = begin(method, given, Randomness(0))
        ends.append([step(method, given, state, Randomness(0).at(i)) for i in (1, 2)] + [state.tensors()])
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
    torch._dynamo.reset()


@pytest.mark.gpu
def test_a_captured_step_is_the_eager_one():
    problem, method = doubles("dsa", "convnet-2-w8"), DC(batch_real=8, outer_loop=3, inner_loop=1)
    there = replace(
        problem,
        data=problem.data.to(torch.device("cuda")),
        preprocess=problem.preprocess.to(torch.device("cuda")),
        initial_images=problem.initial_images.cuda(),
        initial_targets=problem.initial_targets.cuda(),
    )
    ends = []
    for given in (problem, there, replace(there, compiled=True)):
        state = begin(method, given, Randomness(0))
        for i in (1, 2, 3, 4):
            step(method, given, state, Randomness(0).at(i))
        ends.append(state.images.cpu())
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(ends[2], ends[1], rtol=1e-8, atol=1e-10)
