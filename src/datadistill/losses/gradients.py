"""Distances between the gradients of two batches with respect to the weights of one network, tensor by tensor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datadistill.core.arrays import Scalar

_EPS = 1e-6
"""Added to the product of two lengths, so that a gradient that vanishes is far from every other."""

Gradients = Sequence[Tensor]


def _cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """Return 1 minus the cosine of the angle between vectors along the last dimension."""
    lengths = torch.linalg.vector_norm(one, dim=-1) * torch.linalg.vector_norm(other, dim=-1)
    cosine: Tensor = (one * other).sum(-1) / (lengths + _EPS)
    return 1 - cosine


def rowwise(synthetic: Gradients, real: Gradients) -> Scalar:
    """Return the sum of the cosine distances of the weights of every output unit, over units and tensors.

    A row is what leads to one output unit: of a convolution ``[o i h w]`` one filter, of a linear layer ``[o i]`` one
    row. Tensors of one dimension (biases, scales of norms) have no rows and are not to be given.
    Zhao et al., ICLR 2021, equation 7.
    """
    pairs = zip(synthetic, real, strict=True)
    return torch.stack([_cosine_distance(one.flatten(1), other.flatten(1)).sum() for one, other in pairs]).sum()


def squared(synthetic: Gradients, real: Gradients) -> Scalar:
    """Return the squared length of the difference."""
    pairs = zip(synthetic, real, strict=True)
    return torch.stack([(one - other).square().sum() for one, other in pairs]).sum()


def cosine(synthetic: Gradients, real: Gradients) -> Scalar:
    """Return the cosine distance of the gradients as two long vectors."""
    one, other = (torch.cat([tensor.flatten() for tensor in each]) for each in (synthetic, real))
    return _cosine_distance(one, other)


@dataclass(frozen=True)
class GradientDistance:
    """One way to compare gradients.

    Attributes:
        distance: Of two lists of tensors.
        dimensions: Least number of dimensions of a weight tensor that counts.
    """

    distance: Callable[[Gradients, Gradients], Scalar]
    dimensions: int = 1

    def counts(self, shapes: Sequence[tuple[int, ...]]) -> list[bool]:
        """Return which of the weight tensors of these shapes the distance depends on."""
        return [len(shape) >= self.dimensions for shape in shapes]


GRADIENT_DISTANCES: dict[str, GradientDistance] = {
    "ours": GradientDistance(rowwise, dimensions=2),
    "mse": GradientDistance(squared),
    "cos": GradientDistance(cosine),
}
"""By the names of the reference implementation of DC."""
