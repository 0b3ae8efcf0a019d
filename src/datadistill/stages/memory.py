"""Memory of one outer iteration, predicted from the graph of one image or two.

``benchmarks/plan.py`` puts predictions beside the peaks of fresh processes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from datadistill.core.randomness import Randomness
from datadistill.losses.real import TOGETHER
from datadistill.methods import Unrolled
from datadistill.networks import FlatNetwork

_FLOAT = 4

_STEP = {False: 4.0, True: 1.8}
"""Peak of one step and its adjoint, beside its graph, by whether steps are compiled."""

_STORED = {False: 1.35, True: 0.85}
"""What every further step adds to it where all graphs are stored.

Fitted to the eight peaks of ConvNet-3 (width 128, 32 pixels, IPC 1 x 20 and IPC 10 x 10 steps) on a CPU in
``benchmarks/results/speed/mtt--cpu.json``, with 366 MiB for program and data: one step 4.03, compiled 1.77; further
ones 1.27 (IPC 1) and 1.41 (IPC 10), compiled 0.84 and 0.86. A test holds these and others to 20 %."""

_COMPILER = 132 * 2**20
"""What torch's compiler loads and leaves behind, from the same peaks."""

_VECTORS = 6
"""Weight vectors besides the kept ones: start, target, gradient, cotangent and what arithmetic on them needs."""

_BESIDE_AN_OPERATION = 2
"""Peak of a forward pass beside its largest operation: what the libraries need, and what waits for a later layer."""


@dataclass(frozen=True)
class Estimate:
    """What one outer iteration is made of, in bytes.

    Attributes:
        step: Graph of one student step with its gradient, whole batch.
        vector: One weight vector.
        steps: Student steps that are differentiated.
        batch: Images per step.
        looking: Forward pass of the images that the method looks at beside student steps.
        loss: Graph of the loss at the end point, where it looks at real images.
    """

    step: int
    vector: int
    steps: int
    batch: int
    looking: int = 0
    loss: int = 0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the engine is set, as far as memory depends on it; see :class:`~datadistill.unroll.Unroll`."""

    strategy: Literal["adjoint", "stored"] = "adjoint"
    compiled: bool = False
    keep_every: int = 1
    keep_on_host: bool = False
    micro_batch: int | None = None


def estimate(
    network: FlatNetwork, shape: tuple[int, int, int], classes: int, *, batch: int, steps: int, looked_at: int = 0
) -> Estimate:
    """Return what ``steps`` student steps on ``batch`` images are made of, from the graph of one image or two.

    Args:
        network: The student.
        shape: Of an image.
        classes: Number of classes.
        batch: Images per step.
        steps: Student steps.
        looked_at: Images that the method looks at at once beside those steps, without a graph.
    """
    step = _for_images(batch, lambda images: _graph_bytes(network, shape, classes, images))
    looking = looked_at * _forward_bytes(network, shape) if looked_at else 0
    return Estimate(step, network.parameter_count * _FLOAT, steps, batch, looking)


def estimate_method(
    network: FlatNetwork,
    shape: tuple[int, int, int],
    classes: int,
    unrolled: Unrolled,
    *,
    images: int,
    windows: int = 1,
) -> Estimate:
    """Return what an iteration of a method is made of.

    Args:
        network: The student.
        shape: Of an image.
        classes: Number of classes.
        unrolled: How far the method differentiates, and what else it looks at.
        images: Of the synthetic set.
        windows: Through which each of them is seen in a step.
    """
    batch, looked_at, real = unrolled.batch(images) * windows, unrolled.looked_at(images), unrolled.real_batch
    need = estimate(network, shape, classes, batch=batch, steps=unrolled.differentiated, looked_at=looked_at)
    if not network.statistics_count:
        real = min(real, TOGETHER)
    loss = _for_images(real, lambda few: _graph_bytes(network, shape, classes, few, twice=False)) if real else 0
    return replace(need, vector=need.vector * unrolled.vectors, loss=loss)


def peak(need: Estimate, settings: Settings) -> int:
    """Return the bytes that an iteration needs at its peak, besides what was there before (on a GPU: of it)."""
    one = _STEP[settings.compiled] * need.step
    if settings.strategy == "stored":
        graph = one + _STORED[settings.compiled] * need.step * (need.steps - 1) + need.loss
        kept = need.steps
    else:
        graph = one * min(1.0, (settings.micro_batch or need.batch) / need.batch)
        graph = max(graph, need.loss)  # one after the other
        every = min(settings.keep_every, need.steps)
        kept = 0 if settings.keep_on_host else math.ceil(need.steps / every) + (every if every > 1 else 0)
    compiler = _COMPILER if settings.compiled else 0
    graph = max(graph, need.looking)  # one after the other
    return int(graph) + (kept + _VECTORS) * need.vector + compiler


class _Largest(TorchDispatchMode):
    """Finds the operation whose tensors are largest, arguments and results together."""

    most = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and measure it."""
        result = operation(*args, **(kwargs or {}))
        tensors = (leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor))
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
        self.most = max(self.most, sum(storages.values()))
        return result


def _forward_bytes(network: FlatNetwork, shape: tuple[int, int, int]) -> int:
    """Return the bytes that an image adds to the largest operation of a forward pass without a graph."""
    params, found = network.initial(Randomness(0).stream("planning")), []
    for images in (1, 2):
        with torch.no_grad(), _Largest() as largest:  # type: ignore[no-untyped-call]
            network(params, torch.zeros(images, *shape))
        found.append(int(largest.most))
    return _BESIDE_AN_OPERATION * (found[1] - found[0])


def _for_images(count: int, measured: Callable[[int], int]) -> int:
    """Return what ``count`` images need, from what one and two do."""
    one, two = measured(1), measured(2)
    return one + (two - one) * (count - 1)


def _graph_bytes(
    network: FlatNetwork, shape: tuple[int, int, int], classes: int, images: int, *, twice: bool = True
) -> int:
    """Return the bytes that autograd keeps for a loss, and, if ``twice``, for its gradient that is differentiated."""
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    rng = Randomness(0)
    params = network.initial(rng.stream("planning")).requires_grad_()
    x = torch.randn((images, *shape), generator=rng.stream("images")).requires_grad_()
    y = torch.eye(classes)[torch.arange(images) % classes]
    kept: list[object] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = torch.nn.functional.cross_entropy(network(params, x), y)
        kept.append(torch.autograd.grad(loss, params, create_graph=True) if twice else loss)
    return sum(seen.values())
