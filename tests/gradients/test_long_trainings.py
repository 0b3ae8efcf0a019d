"""Thirty steps of the networks of Dataset Distillation, in float64: ours against plain back-propagation."""

from dataclasses import replace

import pytest
import torch

from datadistill.core.randomness import Randomness
from datadistill.losses.real import RealLoss
from datadistill.unroll import draw_steps

STRATEGIES = ("adjoint", "stored")
S, E = 10, 3


def training(case, network, shape, *, student_lr=0.02, per_step=1):
    """S batches in a fixed order, gone through E times, a step size per step, judged by real images."""
    problem = case(network, shape=shape, images=S * per_step, steps=1, rates=S * E, lr=student_lr)
    order = torch.arange(S * per_step).view(S, per_step)
    steps = draw_steps(
        Randomness(0),
        problem.augment,
        images=S * per_step,
        steps=S * E,
        batch_size=None,
        device=torch.device("cpu"),
        order=order,
    )
    generator = Randomness(0).stream("real")
    images = torch.randn(4, *shape, generator=generator, dtype=torch.float64)
    real = RealLoss(problem.network, images, torch.tensor([0, 1, 2, 0]))
    with_real = replace(problem, steps=steps)
    with_real.loss = real
    return with_real


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("network", ["lenet", "lenet+xavier"])
def test_lenet(case, agree, network, strategy):
    problem = training(case, network, (1, 16, 16))
    agree(problem.ours(strategy, keep_every=4 if strategy == "adjoint" else 1), problem.reference())


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("network", "shape"), [("lenet+xavier", (1, 28, 28)), ("alexcifarnet+xavier", (3, 32, 32))])
def test_at_full_size(case, agree, network, shape, strategy):
    problem = training(case, network, shape, per_step=2)
    agree(problem.ours(strategy), problem.reference())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_batch_norm_by_the_statistics_of_every_batch(case, agree, strategy):
    """The real batch has statistics of its own; no running averages are mixed in anywhere."""
    problem = training(case, "convnet-1-w4-batchnorm", (3, 8, 8), per_step=3)
    agree(problem.ours(strategy), problem.reference())
