"""Distribution matching against the joint graph in float64, and in pieces."""

from dataclasses import replace

import jaxtyping
import pytest
import torch

import tiny
from datadistill.core.randomness import Randomness
from datadistill.methods import DM, dm
from reference.class_matching import mean_matching

RNG = Randomness(3).at(5)


def doubles(augment="none", network=tiny.SMOOTH_NETWORK):
    return tiny.problem(None, augment=augment, network=network, dtype=torch.float64)


def expected(method, problem, state):
    """Value and gradient from one graph over all classes, features in the network of this iteration."""
    params = problem.network.initial(RNG.at(4).stream("network")).double()
    draws = problem.augment.draw(RNG.stream("augment"), steps=tiny.CLASSES, batch=1)
    images = state.images.clone().requires_grad_()
    batches = [
        (pair.real, problem.augment.apply(part, draws[pair.label]), pair.label)
        for pair, part in zip(method.pairs(problem, state, RNG), images.split(tiny.IPC), strict=True)
    ]
    if problem.network.statistics_count:
        sides = [problem.network.features(params, torch.cat([b[i] for b in batches])) for i in (0, 1)]
        split = [side.split([len(b[i]) for b in batches]) for i, side in enumerate(sides)]
        total = sum(((a.mean(0).detach() - b.mean(0)) ** 2).sum() for a, b in zip(*split, strict=True))
    else:
        total = mean_matching(lambda x: problem.network.features(params, x), batches)
    return total, torch.autograd.grad(total, images)[0]


@pytest.mark.parametrize("augment", ["none", "dsa"])
@pytest.mark.parametrize("network", [tiny.SMOOTH_NETWORK, "convnet-1-w4-batchnorm"])
@pytest.mark.parametrize(("together", "classes"), [(256, 16), (256, 1), (1, 16)])
def test_equals_the_joint_graph(augment, network, together, classes, monkeypatch):
    monkeypatch.setattr(dm, "_TOGETHER", together)
    monkeypatch.setattr(dm, "_CLASSES", classes)
    problem, method = doubles(augment, network), DM(batch_real=8)
    state = method.init(problem, RNG)
    metrics, gradients = method.gradient(problem, state, RNG)
    total, gradient = expected(method, problem, state)
    assert metrics["feature_distance"].item() == pytest.approx(total.item(), rel=1e-10)
    assert float((gradients["images"] - gradient).norm() / gradient.norm()) < 1e-10


def test_every_iteration_has_a_network_of_its_own_unless_told_otherwise():
    problem = doubles()

    def values(method):
        state = method.init(problem, RNG)
        found = [method.gradient(problem, state, RNG.at(i))[0]["feature_distance"].item() for i in range(1, 7)]
        return [round(value, 12) for value in found]

    whole = DM(batch_real=1000)
    assert len(set(values(whole))) == 6
    assert len(set(values(replace(whole, iterations_per_network=3)))) == 2


def test_classes_of_different_sizes_are_matched():
    problem = doubles(network="convnet-1-w4-batchnorm")
    train = problem.data.train
    kept = torch.cat([torch.arange(len(train.labels))[train.labels == c][: 4 + c] for c in range(tiny.CLASSES)])
    few = replace(train, images=train.images[kept], labels=train.labels[kept])
    problem = replace(problem, data=replace(problem.data, train=few))
    method = DM(batch_real=5)
    metrics, gradients = method.gradient(problem, method.init(problem, RNG), RNG)
    assert [len(pair.real) for pair in method.pairs(problem, method.init(problem, RNG), RNG)] == [4, 5, 5]
    assert metrics["feature_distance"].isfinite()
    assert gradients["images"].isfinite().all()


@pytest.mark.parametrize("wrong", [{"batch_real": 0}, {"image_lr": -1.0}, {"iterations_per_network": 0}], ids=str)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DM(**wrong)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch of itself
@pytest.mark.parametrize("network", ["convnet-2-w8", "convnet-1-w4-batchnorm"])
def test_a_compiled_step_is_the_eager_one(network, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # dynamo cannot trace the checks
    torch._dynamo.reset()
    problem, method = doubles("dsa", network), DM(batch_real=8)
    state = method.init(problem, RNG)
    eager, compiled = (method.gradient(replace(problem, compiled=wanted), state, RNG) for wanted in (False, True))
    torch.testing.assert_close(compiled, eager, rtol=1e-9, atol=1e-11)
    torch._dynamo.reset()


@pytest.mark.gpu
def test_a_captured_step_is_the_eager_one():
    problem, method = doubles("dsa", "convnet-2-w8"), DM(batch_real=8)
    there = replace(
        problem,
        data=problem.data.to(torch.device("cuda")),
        preprocess=problem.preprocess.to(torch.device("cuda")),
        initial_images=problem.initial_images.cuda(),
        initial_targets=problem.initial_targets.cuda(),
    )
    here = method.gradient(problem, method.init(problem, RNG), RNG)[1]["images"]
    for compiled in (False, True):
        given = replace(there, compiled=compiled)
        found = method.gradient(given, method.init(given, RNG), RNG)[1]["images"]
        torch.testing.assert_close(found.cpu(), here, rtol=1e-8, atol=1e-10)
