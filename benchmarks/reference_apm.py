"""Adversarial prediction matching, written the way the published code is: the whole set is the leaf of every chunk.

As in :mod:`benchmarks.reference`, what is left out is logging and reading files.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.reference import augment_at_random


class Descent:
    """The images' side: they live on the CPU, and every term has passes of its own.

    Attributes:
        images: The synthetic images.
    """

    def __init__(self, images: Tensor, labels: Tensor, *, lr: float = 1.0, recognition: float = 0.1) -> None:
        self.images = images.cpu().clone().requires_grad_()
        self.labels, self.recognition = labels, recognition
        self.optimizer = torch.optim.SGD([self.images], lr=lr, momentum=0.5)

    def gradient(self, teacher: nn.Module, students: Sequence[nn.Module], device: Any, chunk: int) -> Tensor:
        """Return the gradient of the images."""
        count = len(self.images)
        total = torch.zeros_like(self.images)
        parts = torch.randperm(count).split(chunk)
        for student in students:
            for rows in parts:
                x = self.images[rows].to(device)
                total += self._pulled(-len(rows) / count * F.l1_loss(student(x), teacher(x)))
        for rows in parts:
            loss = F.cross_entropy(teacher(self.images[rows].to(device)), self.labels[rows.to(self.labels.device)])
            total += self._pulled(len(rows) / count * self.recognition * loss)
        return total

    def iterate(self, teacher: nn.Module, students: Sequence[nn.Module], device: Any, chunk: int) -> None:
        """Take one outer iteration."""
        self.images.grad = self.gradient(teacher, students, device, chunk)
        self.optimizer.step()

    def _pulled(self, loss: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss.backward()
        assert self.images.grad is not None
        return self.images.grad


def train_epoch(network: nn.Module, loader: Iterable[Any], optimizer: torch.optim.Optimizer, device: Any) -> None:
    """Train a student for one epoch on the logits of the teacher."""
    network.train()
    for images, logits in loader:
        x, z = augment_at_random(images.to(device)), logits.to(device)
        loss = F.l1_loss(network(x), z)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
