"""Features of a network, and how far their means are from given ones, as pure functions of tensors.

With the features ψ of images x, as many of each of g classes, and one vector m_c per class:

    L = Σ_c ‖ mean ψ(x_c) − m_c ‖²,   ∂L/∂x
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from datadistill.core.arrays import Images, Params, Scalar
from datadistill.networks import FlatNetwork
from datadistill.runtime.compiler import compile_whole

Found = tuple[Scalar, Images]


@dataclass(frozen=True)
class FeatureMatch:
    """Mean features and their distance, for one network.

    Attributes:
        network: Whose features.
        params: Its parameters.
        compiled: Whether whole steps are compiled, or captured on a GPU, once per size of the batch.
    """

    network: FlatNetwork
    params: Params
    compiled: bool = False

    def features(self, images: Tensor) -> Float[Tensor, "n d"]:
        """Return the features, without a graph."""
        with torch.no_grad():
            found: Tensor = self._function(_features, _features)(self.params, images)
        return found

    def distance(self, images: Images, means: Float[Tensor, "g d"]) -> Found:
        """Return L and its gradient by ``images``, one class after another."""
        found: Found = self._function(_distance, _eager)(self.params, images.detach(), means)
        return found

    def distance_in_pieces(self, images: Images, mean: Float[Tensor, " d"], size: int) -> Found:
        """Return the same for one class, with ``size`` images in memory at once; for networks without batch norm."""
        parts = images.detach().split(size)
        difference = torch.stack([self.features(part).sum(0) for part in parts]).sum(0) / len(images) - mean
        by_feature, gradients = 2 * difference / len(images), []
        for part in parts:
            leaf = part.detach().requires_grad_()
            gradients += torch.autograd.grad(_features(self.network, self.params, leaf).sum(0), leaf, by_feature)
        return difference.square().sum(), torch.cat(gradients)

    def _function(self, function: Callable[..., Any], eager: Callable[..., Any]) -> Callable[..., Any]:
        if self.compiled:
            return _compiled(self.network.original, function, eager, torch.get_num_threads())
        return partial(eager, self.network)


def _features(network: FlatNetwork, params: Tensor, images: Tensor) -> Tensor:
    return network.features(params, images)


def _value(network: FlatNetwork, params: Tensor, images: Tensor, means: Tensor) -> Tensor:
    own = network.features(params, images).unflatten(0, (len(means), -1)).mean(1)
    value: Tensor = (own - means).square().sum()
    return value


def _eager(network: FlatNetwork, params: Tensor, images: Tensor, means: Tensor) -> Found:
    leaf = images.detach().requires_grad_()
    value = _value(network, params, leaf, means)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def _distance(network: FlatNetwork, params: Tensor, images: Tensor, means: Tensor) -> Found:
    gradient, value = torch.func.grad_and_value(partial(_value, network, params))(images, means)
    return value, gradient


@lru_cache(maxsize=16)
def _compiled(
    network: FlatNetwork, function: Callable[..., Any], eager: Callable[..., Any], threads: int
) -> Callable[..., Any]:
    def step(*tensors: Tensor) -> Any:
        return function(network, *tensors)

    return compile_whole(step, partial(eager, network))
