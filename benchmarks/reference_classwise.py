"""DM, DC and the contrastive term, written the way the published codes are: one graph over all classes, all pairs.

As in :mod:`benchmarks.reference`, random numbers are arguments, and what is left out is logging and reading files.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.reference import augment

Batches = Sequence[Tensor]


def embed(network: Any, x: Tensor) -> Tensor:
    """Return what the last layer sees."""
    out: Tensor = network.features(x)
    return out.view(out.size(0), -1)


def siamese(x: Tensor, draws: Any) -> Tensor:
    """Return ``x`` after one operation whose numbers all images share."""
    return augment(x, draws.operations[0], draws.uniforms.expand(x.size(0), -1))


def distance_of_rows(real: Tensor, synthetic: Tensor) -> Tensor:
    """Return the distance ``ours`` of the gradients of one weight tensor."""
    if real.dim() == 1:
        return torch.zeros((), device=real.device, dtype=real.dtype)
    one, other = real.flatten(1), synthetic.flatten(1)
    lengths = torch.norm(one, dim=-1) * torch.norm(other, dim=-1) + 0.000001
    return torch.sum(1 - torch.sum(one * other, dim=-1) / lengths)


class Matching:
    """The outer loop of DM and DC, without the training between two steps.

    Attributes:
        images: The synthetic images, sorted by class.
    """

    def __init__(self, images: Tensor, classes: int, *, lr: float, method: str) -> None:
        self.images = images.clone().requires_grad_()
        self.ipc, self.method = len(images) // classes, method
        self.optimizer = torch.optim.SGD([self.images], lr=lr, momentum=0.5)

    def gradient(self, network: nn.Module, reals: Batches, draws: Any) -> Tensor:
        """Return the gradient of the images.

        Args:
            network: A new one in every iteration of DM.
            reals: Real images of every class.
            draws: Per class an operation and one row of numbers.
        """
        if self.method == "dm":
            for parameter in network.parameters():
                parameter.requires_grad = False
        loss = torch.zeros((), device=self.images.device, dtype=self.images.dtype)
        for label, real in enumerate(reals):
            synthetic = self.images[label * self.ipc : (label + 1) * self.ipc]
            real, synthetic = siamese(real, draws[label]), siamese(synthetic, draws[label])  # noqa: PLW2901
            loss = loss + (self._features if self.method == "dm" else self._gradients)(network, real, synthetic, label)
        self.optimizer.zero_grad()
        loss.backward()
        assert self.images.grad is not None
        return self.images.grad

    def iterate(self, network: nn.Module, reals: Batches, draws: Any) -> None:
        """Take one outer iteration."""
        self.gradient(network, reals, draws)
        self.optimizer.step()

    def _features(self, network: nn.Module, real: Tensor, synthetic: Tensor, label: int) -> Tensor:
        theirs, ours = embed(network, real).detach(), embed(network, synthetic)
        return torch.sum((theirs.mean(dim=0) - ours.mean(dim=0)) ** 2)

    def _gradients(self, network: nn.Module, real: Tensor, synthetic: Tensor, label: int) -> Tensor:
        weights = list(network.parameters())
        found = []
        for x, graph in ((real, False), (synthetic, True)):
            labels = torch.full((len(x),), label, device=x.device)
            loss = F.cross_entropy(network(x), labels)
            found.append(torch.autograd.grad(loss, weights, create_graph=graph))
        pairs = zip([g.detach().clone() for g in found[0]], found[1], strict=True)
        return torch.stack([distance_of_rows(one, other) for one, other in pairs]).sum()


def contrastive(network: nn.Module, images: Tensor, labels: Tensor, real: Tensor, real_labels: Tensor) -> Tensor:
    """Return the ratio of distances within classes to all, from the matrix of all pairs."""
    ours, theirs = embed(network, images), embed(network, real)
    ours, theirs = F.normalize(ours, dim=1), F.normalize(theirs, dim=1)
    distances = 1 - torch.mm(theirs, ours.t())
    same = torch.eq(real_labels.view(-1, 1), labels.view(1, -1)).to(distances.dtype)
    return (distances * same).sum() / distances.sum()
