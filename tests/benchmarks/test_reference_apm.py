"""The baseline of APM computes what ours computes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import tiny
from benchmarks import reference, reference_apm
from datadistill.core.randomness import Randomness
from datadistill.experts import Teacher, TeacherPool
from datadistill.methods import APM
from datadistill.networks import build_network

RNG = Randomness(5).at(1)


def module(params: Tensor) -> reference.ConvNet:
    channels, size, _ = tiny.SHAPE
    network = reference.ConvNet(1, 4, channels=channels, size=size, classes=tiny.CLASSES).double()
    torch.nn.utils.vector_to_parameters(params, network.parameters())
    return network


@pytest.mark.usefixtures("global_generators")  # ConvNet's weights, which are never used, and the order of chunks
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_update_of_the_images(chunk: int) -> None:
    network = build_network("convnet-1-w4", tiny.SHAPE, tiny.CLASSES)
    plain = replace(tiny.problem(None, augment="dsa", dtype=torch.float64), network=network, iterations=10)
    first, *others = (network.initial(RNG.stream(f"network {i}")).double() for i in range(4))
    pool = TeacherPool((Teacher(network, first, network.initial_statistics().double()),))
    given, method = replace(plain, teachers=pool), APM(snapshots=3, student_epochs=3)
    state = method.init(given, RNG)
    state.students = torch.stack(others)
    _, ours = method.gradient(given, state, RNG)
    loop = reference_apm.Descent(given.initial_images, given.initial_targets.argmax(1))
    theirs = loop.gradient(module(first), [module(params) for params in others], "cpu", chunk)
    assert float((ours["images"] - theirs).norm() / theirs.norm()) < 1e-10
