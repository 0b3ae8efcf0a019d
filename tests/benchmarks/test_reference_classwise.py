"""The baselines of DM, DC and the contrastive term compute what ours compute."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from benchmarks import reference, reference_classwise
from datadistill.augment import DSA
from datadistill.core.randomness import Randomness
from datadistill.experts import Teacher, TeacherPool
from datadistill.methods import DC, DM, Problem
from datadistill.methods.base import begin
from datadistill.methods.clom import CCLoM
from datadistill.networks import build_network

RNG = Randomness(4).at(1)


def problem() -> Problem:
    network = build_network("convnet-1-w4", tiny.SHAPE, tiny.CLASSES)
    found = tiny.problem(None, augment="dsa@align_corners=true", dtype=torch.float64)
    return replace(found, network=network)


def module(params: Tensor) -> reference.ConvNet:
    channels, size, _ = tiny.SHAPE
    network = reference.ConvNet(1, 4, channels=channels, size=size, classes=tiny.CLASSES).double()
    torch.nn.utils.vector_to_parameters(params, network.parameters())
    return network


@pytest.mark.usefixtures("global_generators")  # ConvNet's weights, which are never used
@pytest.mark.parametrize("name", ["dm", "dc"])
def test_matching(name: str) -> None:
    given = problem()
    method: Any = DM(batch_real=8) if name == "dm" else DC(batch_real=8)
    state = begin(method, given, RNG)
    _, gradients = method.gradient(given, state, RNG)
    plain = replace(given, augment=tiny.build_augment("none"))
    reals = [pair.real for pair in method.pairs(plain, state, RNG)]
    draws = DSA().draw(RNG.stream("augment"), steps=tiny.CLASSES, batch=1)
    initial = given.network.initial(RNG.at(0).stream("network")).double()
    loop = reference_classwise.Matching(given.initial_images, tiny.CLASSES, lr=1.0, method=name)
    theirs = loop.gradient(module(initial if name == "dm" else state.params), reals, draws)
    assert float((gradients["images"] - theirs).norm() / theirs.norm()) < 1e-10


@pytest.mark.usefixtures("global_generators")
def test_contrastive_term() -> None:
    given = problem()
    params = given.network.initial(RNG.stream("teacher")).double()
    pool = TeacherPool((Teacher(given.network, params, given.network.initial_statistics().double()),))
    value, gradients = CCLoM(alphas=(1.0,)).prepare(replace(given, teachers=pool), RNG)(
        given.initial_images, given.initial_targets, RNG
    )
    images, train = given.initial_images.clone().requires_grad_(), given.data.train
    real = given.preprocess(train.images).double()
    labels = given.initial_targets.argmax(1)
    theirs = reference_classwise.contrastive(module(params), images, labels, real, train.labels)
    theirs.backward()
    assert images.grad is not None
    assert value.item() == pytest.approx(theirs.item(), rel=1e-12)
    torch.testing.assert_close(gradients["images"], images.grad, rtol=1e-9, atol=1e-12)
