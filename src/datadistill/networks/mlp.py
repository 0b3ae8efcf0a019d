"""The multi-layer perceptron of DC's and MTT's cross-architecture tables: two hidden layers of 128."""

import math

from jaxtyping import Float
from torch import Tensor, nn

from datadistill.core.arrays import Images, Logits

HIDDEN = 128


class MLP(nn.Module):
    """pixels – 128 – 128 – classes, with ReLU and torch's default initialisation.

    Args:
        shape: (channels, height, width) of an image; upstream allows only 1 × 28 × 28 and 3 × 32 × 32.
        classes: Number of logits.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(math.prod(shape), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()
        )
        self.classifier = nn.Linear(HIDDEN, classes)

    def features(self, images: Images) -> Float[Tensor, "n d"]:
        """Return the second hidden layer, after ReLU."""
        features: Tensor = self.hidden(images.flatten(1))
        return features

    def forward(self, images: Images) -> Logits:
        """Return the logits."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
