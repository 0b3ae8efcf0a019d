"""How far the gradients of two batches are apart, and the gradient of that by one of them, as pure functions.

With the mean cross-entropy ℓ under parameters θ, real images b with labels c, synthetic ones x with targets y:

    L = D(∂ℓ(x, y)/∂θ, ∂ℓ(b, c)/∂θ),   ∂L/∂x

Nothing is kept between calls, so that a whole step can be compiled, or captured on a GPU.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from datadistill.core.arrays import Images, Params, Scalar, Statistics, Targets
from datadistill.losses.gradients import GRADIENT_DISTANCES
from datadistill.networks import FlatNetwork
from datadistill.runtime.compiler import compile_whole

Found = tuple[Scalar, Images]

_TOGETHER = 64  # real images differentiated at once where they are not captured


@dataclass(frozen=True)
class GradientMatch:
    """The distance of two gradients, and its gradient by the synthetic images.

    Attributes:
        network: Whose gradients.
        distance: Name of D in :data:`~datadistill.losses.gradients.GRADIENT_DISTANCES`. Weights that it does not depend
            on are not differentiated.
        compiled: Whether the step is compiled, or captured on a GPU, once per sizes of the batches.
    """

    network: FlatNetwork
    distance: str
    compiled: bool = False

    def __call__(
        self,
        params: Params,
        statistics: Statistics,
        real: Float[Tensor, "b c h w"],
        labels: Int64[Tensor, " b"],
        synthetic: Images,
        targets: Targets,
    ) -> Found:
        """Return L and its gradient by ``synthetic``, detached.

        Args:
            params: θ.
            statistics: What batch norm is given; empty without any.
            real: b.
            labels: c.
            synthetic: x.
            targets: y.
        """
        theirs = self._of_real(params, statistics, real, labels)
        match = self._function(_match, _match_eager)
        value, gradient = match(params, statistics, theirs, synthetic.detach(), targets)
        return value, gradient

    def _of_real(self, params: Tensor, statistics: Tensor, real: Tensor, labels: Tensor) -> Tensor:
        """Return ∂ℓ(b, c)/∂θ of the weights that count, in parts that do not set the peak of memory."""
        gradient, size = self._function(_gradient, _gradient_eager), len(real) if real.is_cuda else _TOGETHER
        parts = zip(real.split(size), labels.split(size), strict=True)
        found = [len(own) / len(real) * gradient(params, statistics, own, wanted) for own, wanted in parts]
        return torch.stack(found).sum(0) if len(found) > 1 else found[0]

    def _function(self, function: Callable[..., Any], eager: Callable[..., Any]) -> Callable[..., Any]:
        if self.compiled:
            return _compiled(self.network.original, self.distance, function, eager, torch.get_num_threads())
        return partial(eager, self.network, self.distance)


def _counts(network: FlatNetwork, distance: str) -> list[bool]:
    return GRADIENT_DISTANCES[distance].counts(network.shapes)


def _loss(network: FlatNetwork, params: Tensor, images: Tensor, wanted: Tensor, statistics: Tensor) -> Tensor:
    return F.cross_entropy(network(params, images, statistics if statistics.numel() else None), wanted)


def _kept(network: FlatNetwork, distance: str, params: Tensor) -> list[Tensor]:
    """Return the tensors of a weight vector that count."""
    pairs = zip(network.tensors(params), _counts(network, distance), strict=True)
    return [tensor for tensor, counted in pairs if counted]


def _taken_apart(network: FlatNetwork, distance: str, joined: Tensor) -> list[Tensor]:
    """Return the tensors that :func:`_gradient` has joined."""
    pairs = zip(network.shapes, _counts(network, distance), strict=True)
    shapes = [shape for shape, counted in pairs if counted]
    pieces = joined.split([math.prod(shape) for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def _gradient(
    network: FlatNetwork, distance: str, params: Tensor, statistics: Tensor, images: Tensor, wanted: Tensor
) -> Tensor:
    """Return the gradient of the weights that count, as one vector; all are differentiated to be compiled."""
    found = torch.func.grad(partial(_loss, network))(params, images, wanted, statistics)
    return torch.cat([tensor.flatten() for tensor in _kept(network, distance, found)])


def _match(
    network: FlatNetwork,
    distance: str,
    params: Tensor,
    statistics: Tensor,
    theirs: Tensor,
    synthetic: Tensor,
    targets: Tensor,
) -> Found:
    gradient, apart = torch.func.grad(partial(_loss, network)), _taken_apart(network, distance, theirs)

    def distant(flat: Tensor) -> Tensor:
        return GRADIENT_DISTANCES[distance].distance(_kept(network, distance, flat), apart)

    ours, back, *_ = torch.func.vjp(lambda images: gradient(params, images, targets, statistics), synthetic)
    cotangent, value = torch.func.grad_and_value(distant)(ours)
    return value, back(cotangent)[0]


def _leaves(network: FlatNetwork, distance: str, params: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return all weight tensors, and those of them that count and are to be differentiated."""
    tensors = [tensor.detach() for tensor in network.tensors(params)]
    pairs = zip(tensors, _counts(network, distance), strict=True)
    return tensors, [tensor.requires_grad_() for tensor, counted in pairs if counted]


def _gradient_eager(
    network: FlatNetwork, distance: str, params: Tensor, statistics: Tensor, images: Tensor, wanted: Tensor
) -> Tensor:
    tensors, weights = _leaves(network, distance, params)
    loss = F.cross_entropy(network(tensors, images, statistics if statistics.numel() else None), wanted)
    return torch.cat([found.flatten() for found in torch.autograd.grad(loss, weights)])


def _match_eager(
    network: FlatNetwork,
    distance: str,
    params: Tensor,
    statistics: Tensor,
    theirs: Tensor,
    synthetic: Tensor,
    targets: Tensor,
) -> Found:
    (tensors, weights), leaf = _leaves(network, distance, params), synthetic.detach().requires_grad_()
    loss = F.cross_entropy(network(tensors, leaf, statistics if statistics.numel() else None), targets)
    ours = torch.autograd.grad(loss, weights, create_graph=True)
    value = GRADIENT_DISTANCES[distance].distance(ours, _taken_apart(network, distance, theirs))
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@lru_cache(maxsize=16)
def _compiled(
    network: FlatNetwork, distance: str, function: Callable[..., Any], eager: Callable[..., Any], threads: int
) -> Callable[..., Any]:
    """Return the compiled step; it differentiates all weights, since it cannot take a vector apart before."""

    def step(*tensors: Tensor) -> Any:
        return function(network, distance, *tensors)

    return compile_whole(step, partial(eager, network, distance))
