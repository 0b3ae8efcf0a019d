"""What a trained network makes of real images."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from datadistill.core.arrays import Images, Labels, Params, Scalar
from datadistill.networks import FlatNetwork


@dataclass(frozen=True)
class RealLoss:
    """The mean cross-entropy of real images as a function of a network's parameters.

    Attributes:
        network: The network; batch norm uses the statistics of these images.
        images: In network space.
        labels: Their classes.
    """

    network: FlatNetwork
    images: Images
    labels: Labels

    def taking(self, label: int, other: int) -> "RealLoss":
        """Return the loss that takes images of class ``label`` for images of class ``other``."""
        return replace(self, labels=torch.where(self.labels == label, other, self.labels))

    def __call__(self, params: Params) -> Scalar:
        """Return the loss at ``params``."""
        return F.cross_entropy(self.network(params, self.images).to(params.dtype), self.labels)
