"""Loss and gradient of one ordinary training step, eager or compiled."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from datadistill.core.arrays import Images, Logits, Params, Scalar, Statistics, Targets
from datadistill.networks import FlatNetwork
from datadistill.runtime.compiler import compile_whole
from datadistill.training.schedules import GSAM

Found = tuple[Params, tuple[Scalar, Statistics]]
Criterion = Callable[[Logits, Targets], Scalar]

_EPS = 1e-12  # keeps GSAM defined where a gradient vanishes


@dataclass(frozen=True)
class TrainingStep:
    """The gradient of the mean loss of a batch, or what GSAM makes of it; keeps nothing between calls.

    Attributes:
        network: What is trained.
        compiled: Whether it is compiled, or captured on a GPU, once per batch size and number of threads.
        gsam: Makes the gradient sharpness-aware.
        criterion: The loss of logits against targets.
    """

    network: FlatNetwork
    compiled: bool = False
    gsam: GSAM | None = None
    criterion: Criterion = F.cross_entropy

    def __call__(self, params: Params, images: Images, targets: Tensor) -> Found:
        """Return the gradient with (loss, batch statistics), detached; both of the latter at ``params`` themselves."""
        if self.compiled:
            return _compiled(self.network.original, self.gsam, self.criterion, torch.get_num_threads())(
                params, images, targets
            )
        return _eager(self.network, self.gsam, self.criterion, params, images, targets)


def _loss(
    network: FlatNetwork, criterion: Criterion, params: Params, images: Images, targets: Tensor
) -> tuple[Scalar, Statistics]:
    logits, statistics = network.with_statistics(params, images)
    return criterion(logits, targets), statistics


def _sharpness_aware(
    gradient: Callable[..., Found], gsam: GSAM | None, params: Params, images: Images, targets: Tensor
) -> Found:
    """Return what ``gradient`` finds at ``params``, the gradient as GSAM wants it."""
    first, found = gradient(params, images, targets)
    if gsam is None:
        return first, found
    disturbance = gsam.rho / ((params * first).norm() + _EPS) * params.square() * first
    second, _ = gradient(params + disturbance, images, targets)
    along = torch.dot(first, second) / (second.square().sum() + _EPS) * second
    return second - gsam.alpha * (first - along), found


def _gradient(network: FlatNetwork, criterion: Criterion, params: Params, images: Images, targets: Tensor) -> Found:
    leaf = params.detach().requires_grad_()
    loss, statistics = _loss(network, criterion, leaf, images, targets)
    return torch.autograd.grad(loss, leaf)[0], (loss.detach(), statistics.detach())


def _eager(
    network: FlatNetwork, gsam: GSAM | None, criterion: Criterion, params: Params, images: Images, targets: Tensor
) -> Found:
    return _sharpness_aware(partial(_gradient, network, criterion), gsam, params, images, targets)


@lru_cache(maxsize=16)
def _compiled(network: FlatNetwork, gsam: GSAM | None, criterion: Criterion, threads: int) -> Callable[..., Found]:
    """Return the compiled step of a network: one for all experts, and for all networks side by side."""

    def loss(params: Params, images: Images, targets: Tensor) -> tuple[Scalar, Statistics]:
        return _loss(network, criterion, params, images, targets)

    gradient = torch.func.grad_and_value(loss, has_aux=True)

    def step(params: Params, images: Images, targets: Tensor) -> Found:
        return _sharpness_aware(gradient, gsam, params, images, targets)

    return compile_whole(step, partial(_eager, network, gsam, criterion))
