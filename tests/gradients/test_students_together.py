"""Several students at once are several students one after another, in float64."""

from dataclasses import replace

import pytest
import torch

from datadistill.core.randomness import Randomness
from datadistill.unroll import Momentum, Unroll

NETWORKS = ["lenet", *(f"convnet-2-w4-{norm}norm" for norm in ("instance", "batch", "layer", "group", "no"))]


def starts(problem, count=3):
    return tuple(problem.network.initial(Randomness(j).stream("start")).double() for j in range(count))


def both(problem, count=3, **options):
    arguments = (problem.images, problem.targets, problem.student_lr, problem.steps, problem.loss)
    engine = Unroll(problem.network, problem.augment)
    return [
        replace(engine, together=together).mean(starts(problem, count), *arguments, **options)
        for together in (True, False)
    ]


def agree(one, other):
    for name in ("loss", "images", "targets", "student_lr"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.shape == theirs.shape
        assert not mine.requires_grad
        assert (mine - theirs).abs().max() <= 1e-10 * theirs.abs().max(), name


@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer(case, network):
    agree(*both(case(network, shape=(3, 16, 16), steps=3, rates=3, augment="dsa")))


@pytest.mark.parametrize("options", [{"window": 2}, {"optimiser": Momentum()}], ids=["window", "momentum"])
def test_options(case, options):
    agree(*both(case("convnet-1-w4-nonorm", steps=4, lr=0.02), **options))


def test_the_mean_of_one_is_that_one(case):
    problem = case(steps=3)
    assert torch.equal(starts(problem, 1)[0], problem.start)
    agree(both(problem, 1)[0], problem.ours())


@pytest.mark.gpu
@pytest.mark.parametrize("network", ["lenet", "convnet-2-w4-batchnorm"])
def test_captured(case, network):
    problem = case(network, shape=(3, 16, 16), steps=4, rates=4, augment="dsa")
    expected, moved = both(problem)[1], problem.on("cuda")
    moved.target = moved.target.cuda()
    engine = Unroll(problem.network, problem.augment, compiled=True, together=True)
    for _ in range(2):  # captured, and replayed
        found = engine.mean(
            tuple(start.cuda() for start in starts(problem)),
            moved.images,
            moved.targets,
            moved.student_lr,
            moved.steps,
            moved.loss,
        )
        agree(type(found)(**{name: value.cpu() for name, value in vars(found).items()}), expected)
