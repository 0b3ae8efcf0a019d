"""LeNet-5 with ReLU and max pooling, as in DC, MTT and Dataset Distillation (2018)."""

from torch import nn

from datadistill.core.errors import UsageError
from datadistill.networks.layers import Classifier, Shape

_KERNEL = 5


class LeNet(Classifier):
    """conv 6 – conv 16 – 120 – 84 – classes; 61,706 parameters for MNIST.

    Images of 28 × 28 pixels are padded by two on every side, so that one set of parameters serves 28 and
    32 pixels.

    Args:
        shape: (channels, height, width) of an image.
        classes: Number of logits.

    Raises:
        UsageError: If the image is too small for two convolutions without padding.
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        channels, *sides = shape
        padding = 2 if tuple(sides) == (28, 28) else 0
        height, width = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in sides)
        if min(height, width) < 1:
            raise UsageError(f"images of {sides[0]} x {sides[1]} pixels are too small for LeNet; it needs 16")
        body = nn.Sequential(
            nn.Conv2d(channels, 6, _KERNEL, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, _KERNEL),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * height * width, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
        )
        super().__init__(body, 84, classes)
