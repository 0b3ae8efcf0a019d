"""What a trained network makes of real images."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from datadistill.core.arrays import Images, Labels, Params, Scalar
from datadistill.networks import FlatNetwork

TOGETHER = 64
"""Images that are differentiated at once; the graph of so many should not be larger than those of a few steps."""


@dataclass(frozen=True)
class RealLoss:
    """The mean cross-entropy of real images as a function of a network's parameters.

    Attributes:
        network: The network; batch norm uses the statistics of these images.
        images: In network space.
        labels: Their classes.
        share: What it is multiplied by.
    """

    network: FlatNetwork
    images: Images
    labels: Labels
    share: float = 1.0

    def taking(self, label: int, other: int) -> "RealLoss":
        """Return the loss that takes images of class ``label`` for images of class ``other``."""
        return replace(self, labels=torch.where(self.labels == label, other, self.labels))

    def __call__(self, params: Params) -> Scalar:
        """Return the loss at ``params``."""
        loss = F.cross_entropy(self.network(params, self.images).to(params.dtype), self.labels)
        return loss if self.share == 1 else self.share * loss

    def parts(self) -> Iterator["RealLoss"]:
        """Yield losses whose sum it is, of images that fit into little memory; itself with batch norm, or on a GPU."""
        if self.network.statistics_count or self.images.is_cuda:
            yield self
            return
        for images, labels in zip(self.images.split(TOGETHER), self.labels.split(TOGETHER), strict=True):
            yield replace(self, images=images, labels=labels, share=self.share * len(labels) / len(self.labels))
