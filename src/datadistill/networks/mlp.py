"""The multi-layer perceptron of DC's and MTT's cross-architecture tables: two hidden layers of 128."""

import math

from torch import nn

from datadistill.networks.layers import Classifier, Shape

HIDDEN = 128


class MLP(Classifier):
    """pixels – 128 – 128 – classes, with ReLU and torch's default initialisation.

    Args:
        shape: (channels, height, width) of an image; upstream allows only 1 × 28 × 28 and 3 × 32 × 32.
        classes: Number of logits.
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        body = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(shape), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()
        )
        super().__init__(body, HIDDEN, classes)
