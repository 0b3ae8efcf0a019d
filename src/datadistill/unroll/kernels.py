"""One student step and its adjoint, as pure functions of tensors.

With the mean cross-entropy ℓ of a batch (x, y) under parameters θ:

    gradient:  g = ∂ℓ/∂θ
    reverse:   g,  Hλ = ∂⟨g, λ⟩/∂θ,  Mλ = ∂⟨g, λ⟩/∂x,  Yλ = ∂⟨g, λ⟩/∂y

Nothing is kept between calls, so that both can be compiled as a whole; a compiled network could not be
differentiated twice. Strategy ``stored`` needs a gradient whose graph is kept: compiled, that is the gradient with
one more derivative, which is allowed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from datadistill.core.arrays import Images, Params, Targets
from datadistill.core.errors import UsageError
from datadistill.networks import FlatNetwork
from datadistill.runtime.compiler import compile_whole

Reverse = tuple[Params, Params, Images, Targets]
Many = Float[Tensor, "m p"]


@dataclass(frozen=True)
class StudentStep:
    """Gradient and adjoint of one student step.

    Attributes:
        network: The student.
        micro_batch: Images differentiated at once; ``None`` for all. Exact wherever an image's logits do
            not depend on the others, that is without batch norm.
        compiled: Whether the two functions are compiled, or captured on a GPU. Costs up to a minute once per batch
            size.
        bf16: Whether the network computes in bfloat16, as autocast has it; parameters, loss and results stay as
            they are.
    """

    network: FlatNetwork
    micro_batch: int | None = None
    compiled: bool = False
    bf16: bool = False

    def __post_init__(self) -> None:
        if self.micro_batch is not None and self.network.statistics_count:
            raise UsageError(f"{self.network.name} has batch norm: its steps cannot be split into micro-batches")

    def loss(self, params: Params, images: Images, targets: Targets) -> Tensor:
        """Return the mean cross-entropy."""
        with torch.autocast(params.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
            logits = self.network(params, images)
        return F.cross_entropy(logits.to(params.dtype), targets)

    def gradient(self, params: Params, images: Images, targets: Targets) -> Params:
        """Return g, without a graph."""
        total: Tensor | None = None
        for weight, part_images, part_targets in self._parts(images, targets):
            g = weight * self._gradient(params, part_images, part_targets)
            total = g if total is None else total + g
        assert total is not None
        return total

    def differentiable_gradient(self, params: Params, images: Images, targets: Targets) -> Params:
        """Return g of the whole batch with its graph."""
        if self.compiled and not params.is_cuda:  # what is captured carries no graph
            return self._gradient(params, images, targets)
        return torch.autograd.grad(self.loss(params, images, targets), params, create_graph=True)[0]

    def reverse(self, params: Params, images: Images, targets: Targets, cotangent: Params) -> Reverse:
        """Return g, Hλ, Mλ and Yλ for λ = ``cotangent``, without a graph."""
        parts = [
            (weight, self._reverse(params, part_images, part_targets, cotangent))
            for weight, part_images, part_targets in self._parts(images, targets)
        ]
        if len(parts) == 1:
            return parts[0][1]
        g, h = (torch.stack([weight * values[i] for weight, values in parts]).sum(0) for i in (0, 1))
        m, y = (torch.cat([weight * values[i] for weight, values in parts]) for i in (2, 3))
        return g, h, m, y

    def gradients(self, params: Many, images: Images, targets: Targets) -> Many:
        """Return g of every student of a stack, without a graph; the batch is one for all."""
        found: Many = self._gradients(params, images, targets)
        return found

    def reverses(
        self, params: Many, images: Images, targets: Targets, cotangents: Many
    ) -> tuple[Many, Many, Images, Targets]:
        """Return g and Hλ of every student of a stack, and the sums of Mλ and Yλ over them, without a graph."""
        g, h, m, y = self._reverses(params, images, targets, cotangents)
        return g, h, m.sum(0), y.sum(0)

    def _parts(self, images: Images, targets: Targets) -> list[tuple[float, Tensor, Tensor]]:
        if self.micro_batch is None or self.micro_batch >= len(images):
            return [(1.0, images, targets)]
        pairs = zip(images.split(self.micro_batch), targets.split(self.micro_batch), strict=True)
        return [(len(part) / len(images), part, part_targets) for part, part_targets in pairs]

    @cached_property
    def _gradient(self) -> Callable[..., Params]:
        if self.compiled:
            return compile_whole(torch.func.grad(self.loss), self._eager_gradient)
        return self._eager_gradient

    @cached_property
    def _reverse(self) -> Callable[..., Reverse]:
        if self.compiled:
            return compile_whole(self._functional_reverse, self._eager_reverse)
        return self._eager_reverse

    @cached_property
    def _gradients(self) -> Callable[..., Tensor]:
        many = torch.func.vmap(torch.func.grad(self.loss), in_dims=(0, None, None))
        return compile_whole(many, many) if self.compiled else many

    @cached_property
    def _reverses(self) -> Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]:
        many = torch.func.vmap(self._functional_reverse, in_dims=(0, None, None, 0))
        return compile_whole(many, many) if self.compiled else many

    def _eager_gradient(self, params: Params, images: Images, targets: Targets) -> Params:
        leaf = params.detach().requires_grad_()
        return torch.autograd.grad(self.loss(leaf, images, targets), leaf)[0]

    def _eager_reverse(self, params: Params, images: Images, targets: Targets, cotangent: Params) -> Reverse:
        leaves = tuple(tensor.detach().requires_grad_() for tensor in (params, images, targets))
        (g,) = torch.autograd.grad(self.loss(*leaves), leaves[0], create_graph=True)
        h, m, y = torch.autograd.grad(g, leaves, cotangent)
        return g.detach(), h, m, y

    def _functional_reverse(self, params: Params, images: Images, targets: Targets, cotangent: Params) -> Reverse:
        g, pull_back, *_ = torch.func.vjp(torch.func.grad(self.loss), params, images, targets)
        h, m, y = pull_back(cotangent)
        return g, h, m, y
