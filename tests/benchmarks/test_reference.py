"""The baseline of the benchmarks computes what ours computes: otherwise a ratio of times would mean nothing."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks import cases, operations, reference
from datadistill.augment import DSA, FULL_STRATEGY, Draws
from datadistill.core.randomness import Randomness
from datadistill.losses.distance import normalised_distance
from datadistill.networks import build_network
from datadistill.synthetic.texture import Texture
from datadistill.unroll import Steps, Unroll

CASE = cases.CASES["mtt"][-1].tiny()
SHAPE = (3, 32, 32)


class CountConvolutions(TorchDispatchMode):
    """Adds up what torch's own table says of every convolution; ``FlopCounterMode`` refuses ``autograd.grad``."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if "convolution" in str(func):
            self.operations += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


def problem(count: int, steps: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Steps]:
    rng = Randomness(5)
    network = build_network(f"convnet-{CASE.depth}-w{CASE.width}", SHAPE, 10)
    start = network.initial(rng.stream("start")).double()
    target = start + 0.01 * torch.randn(start.shape, generator=rng.stream("target"), dtype=torch.float64)
    images = torch.randn(count, *SHAPE, generator=rng.stream("images"), dtype=torch.float64)
    numbers = DSA().draw(rng.stream("numbers"), steps=steps, batch=count).uniforms
    draws = Draws(tuple((FULL_STRATEGY[t % 6],) for t in range(steps)), numbers)
    return start, target, images, torch.arange(count) % 10, Steps((None,) * steps, draws)


@pytest.mark.usefixtures("global_generators")  # ConvNet's weights, which are never used
@pytest.mark.parametrize("strategy", ["adjoint", "stored"])
def test_reference_has_our_gradient(strategy: str) -> None:
    count, steps = 3, 6  # one step for every operation of DSA
    start, target, images, labels, plan = problem(count, steps)
    module = reference.ConvNet(CASE.depth, CASE.width)
    loop = reference.TrajectoryMatching(module, images, labels, start, target, steps=steps)
    theirs = [value.clone() for value in loop.gradient(plan.draws)]
    loop.iterate(plan.draws)
    network = build_network(f"convnet-{CASE.depth}-w{CASE.width}", SHAPE, 10)
    ours = Unroll(network, DSA(), strategy=strategy)(  # type: ignore[arg-type]
        start,
        images,
        F.one_hot(labels, 10).double(),
        torch.tensor([0.01], dtype=torch.float64),
        plan,
        lambda end: normalised_distance(end, start, target),
    )
    assert float((ours.images - theirs[0]).norm() / theirs[0].norm()) < 1e-10
    assert float((ours.student_lr - theirs[1]).norm() / theirs[1].norm()) < 1e-10
    moved = (loop.images.detach() - images + 1000.0 * theirs[0]).norm() / (1000.0 * theirs[0]).norm()
    assert float(moved) < 1e-10


@pytest.mark.usefixtures("global_generators")
def test_operations_are_those_of_the_convolutions() -> None:
    steps = CASE.student_steps
    start, target, images, labels, plan = problem(CASE.images, steps)
    module = reference.ConvNet(CASE.depth, CASE.width)
    loop = reference.TrajectoryMatching(module, images, labels, start, target, steps=steps)
    with CountConvolutions() as counter:  # type: ignore[no-untyped-call]
        loop.gradient(plan.draws)
    assert operations.mtt_operations(CASE, "stored") == counter.operations
    first, other = operations.forward_operations(CASE)
    one_more_step = steps * CASE.images * (2 * first + 3 * other)
    assert operations.mtt_operations(CASE, "adjoint") == counter.operations + one_more_step


def test_rolled_canvases_are_our_windows() -> None:
    texture, rng = Texture(canvas=2), Randomness(1)
    canvases = torch.randn(3, 3, 16, 16, generator=rng.stream("canvases"))
    (offsets,) = texture.draw(rng, steps=1, batch=3)
    assert torch.equal(reference.rolled(canvases, (offsets * 16).long()), texture.windows(canvases, offsets))
