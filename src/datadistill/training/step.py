"""Loss and gradient of one ordinary training step, eager or compiled."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from datadistill.core.arrays import Images, Params, Scalar, Statistics
from datadistill.networks import FlatNetwork
from datadistill.runtime.compiler import compile_whole

Found = tuple[Params, tuple[Scalar, Statistics]]


@dataclass(frozen=True)
class TrainingStep:
    """The gradient of the mean cross-entropy of a batch; keeps nothing between calls.

    Attributes:
        network: What is trained.
        compiled: Whether it is compiled, or captured on a GPU, once per batch size and number of threads.
    """

    network: FlatNetwork
    compiled: bool = False

    def __call__(self, params: Params, images: Images, targets: Tensor) -> Found:
        """Return the gradient with (loss, batch statistics), detached."""
        if self.compiled:
            return _compiled(self.network.original, torch.get_num_threads())(params, images, targets)
        return _eager(self.network, params, images, targets)


def _loss(network: FlatNetwork, params: Params, images: Images, targets: Tensor) -> tuple[Scalar, Statistics]:
    logits, statistics = network.with_statistics(params, images)
    return F.cross_entropy(logits, targets), statistics


def _eager(network: FlatNetwork, params: Params, images: Images, targets: Tensor) -> Found:
    leaf = params.detach().requires_grad_()
    loss, statistics = _loss(network, leaf, images, targets)
    return torch.autograd.grad(loss, leaf)[0], (loss.detach(), statistics.detach())


@lru_cache(maxsize=16)
def _compiled(network: FlatNetwork, threads: int) -> Callable[..., Found]:
    """Return the compiled step of a network: one for all experts, and for all networks side by side."""

    def loss(params: Params, images: Images, targets: Tensor) -> tuple[Scalar, Statistics]:
        return _loss(network, params, images, targets)

    def step(params: Params, images: Images, targets: Tensor) -> Found:
        gradient, found = torch.func.grad_and_value(loss, has_aux=True)(params, images, targets)
        return gradient, found

    return compile_whole(step, partial(_eager, network))
