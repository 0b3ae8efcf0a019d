"""What the machine can do: the network's own convolutions, and a matrix product."""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.operations import KERNEL, forward_operations, shapes


class Convolutions:
    """The network's convolutions alone, forward and backward, on a synthetic batch."""

    def __init__(self, case: Case, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(device)

        self.layers = [
            (
                normal(case.images, before, size, size).requires_grad_(),
                normal(after, before, KERNEL, KERNEL).requires_grad_(),
                normal(case.images, after, size, size),
            )
            for before, after, size in shapes(case)
        ]
        self.operations = 3 * case.images * sum(forward_operations(case))
        side = 8192 if device.type == "cuda" else 1024
        self.square = normal(side, side)
        self.product_operations = 2 * side**3

    def run(self) -> None:
        """Compute every output and the gradients of inputs and weights."""
        for x, weight, gradient in self.layers:
            y = F.conv2d(x, weight, padding=KERNEL // 2)
            torch.autograd.grad(y, (x, weight), gradient)

    def multiply(self) -> None:
        """Compute one square matrix product; with TF32 on CUDA, as the convolutions."""
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.mm(self.square, self.square)
        torch.backends.cuda.matmul.allow_tf32 = before
