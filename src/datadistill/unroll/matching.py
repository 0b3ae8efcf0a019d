"""How far the gradients of two batches are apart, and the gradient of that by one of them, as pure functions.

With the mean cross-entropy ℓ under parameters θ, real images b with labels c, synthetic ones x with targets y:

    L = D(∂ℓ(x, y)/∂θ, ∂ℓ(b, c)/∂θ),   ∂L/∂x

Nothing is kept between calls, so that a whole step can be compiled, or captured on a GPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from datadistill.core.arrays import Images, Params, Scalar, Statistics, Targets
from datadistill.losses.gradients import GRADIENT_DISTANCES
from datadistill.networks import FlatNetwork
from datadistill.runtime.compiler import compile_whole

Found = tuple[Scalar, Images]


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
        inputs = (params, statistics, real, labels, synthetic.detach(), targets)
        if self.compiled:
            return _compiled(self.network.original, self.distance, torch.get_num_threads())(*inputs)
        return _eager(self.network, self.distance, *inputs)


def _eager(
    network: FlatNetwork,
    distance: str,
    params: Tensor,
    statistics: Tensor,
    real: Tensor,
    labels: Tensor,
    synthetic: Tensor,
    targets: Tensor,
) -> Found:
    chosen, moments = GRADIENT_DISTANCES[distance], statistics if statistics.numel() else None
    tensors = [tensor.detach() for tensor in network.tensors(params)]
    counted = zip(tensors, chosen.counts(network.shapes), strict=True)
    weights = [tensor.requires_grad_() for tensor, counts in counted if counts]

    def gradients(images: Tensor, wanted: Tensor, *, graph: bool) -> Sequence[Tensor]:
        loss = F.cross_entropy(network(tensors, images, moments), wanted)
        return torch.autograd.grad(loss, weights, create_graph=graph)

    theirs, leaf = gradients(real, labels, graph=False), synthetic.detach().requires_grad_()
    value = chosen.distance(gradients(leaf, targets, graph=True), theirs)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def _loss(network: FlatNetwork, params: Tensor, images: Tensor, wanted: Tensor, statistics: Tensor) -> Tensor:
    return F.cross_entropy(network(params, images, statistics if statistics.numel() else None), wanted)


def _kept(network: FlatNetwork, counts: Sequence[bool], flat: Tensor) -> list[Tensor]:
    return [tensor for tensor, counted in zip(network.tensors(flat), counts, strict=True) if counted]


@lru_cache(maxsize=8)
def _compiled(network: FlatNetwork, distance: str, threads: int) -> Callable[..., Found]:
    """Return the compiled step; it differentiates all weights, since it cannot take a vector apart before."""
    chosen = GRADIENT_DISTANCES[distance]
    gradient = torch.func.grad(partial(_loss, network))
    kept = partial(_kept, network, chosen.counts(network.shapes))

    def step(
        params: Tensor, statistics: Tensor, real: Tensor, labels: Tensor, synthetic: Tensor, targets: Tensor
    ) -> Found:
        theirs = kept(gradient(params, real, labels, statistics))
        ours, back, *_ = torch.func.vjp(lambda images: gradient(params, images, targets, statistics), synthetic)
        cotangent, value = torch.func.grad_and_value(lambda flat: chosen.distance(kept(flat), theirs))(ours)
        return value, back(cotangent)[0]

    return compile_whole(step, partial(_eager, network, distance))
