"""VGG (Simonyan & Zisserman, 2015) as DC and MTT use it: a norm after every convolution, one linear layer."""

from dataclasses import dataclass

from torch import nn

from datadistill.core.errors import UsageError
from datadistill.networks.layers import Classifier, Norm, Shape, build_norm, padded

_CHANNELS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions of every block, by depth; a block ends with 2 × 2 max pooling."""

_SMALLEST = 32


@dataclass(frozen=True, kw_only=True)
class VGGOptions:
    """What distinguishes the members of the family.

    Attributes:
        depth: 11, 13, 16 or 19.
        norm: Normalisation after every convolution; upstream's is instance norm, or batch norm (VGG11BN).

    Raises:
        UsageError: If there is no VGG of that depth.
    """

    depth: int = 11
    norm: Norm = "instance"

    def __post_init__(self) -> None:
        if self.depth not in _CONVOLUTIONS:
            raise UsageError(f"VGG has {', '.join(map(str, _CONVOLUTIONS))} layers, got {self.depth}")


class VGG(Classifier):
    """One member of the family; 9,231,114 parameters for VGG-11 and CIFAR-10.

    A 28 × 28 image with one channel is padded to 32 × 32. The linear layer sees 512 features for 32 pixels and
    2,048 for 64, as in APM.

    Args:
        options: Depth and norm.
        shape: (channels, height, width) of an image.
        classes: Number of logits.

    Raises:
        UsageError: If the image is too small to be halved five times.
    """

    def __init__(self, options: VGGOptions, shape: Shape, classes: int) -> None:
        channels = shape[0]
        extra, height, width = padded(shape)
        if min(height, width) < _SMALLEST:
            raise UsageError(f"images of {shape[1]} x {shape[2]} pixels are too small for VGG; it needs {_SMALLEST}")
        layers: list[nn.Module] = []
        for count, convolutions in zip(_CHANNELS, _CONVOLUTIONS[options.depth], strict=True):
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, count, 3, padding=1 + (0 if layers else extra))]
                layers += [build_norm(options.norm, (count, height, width))] if options.norm != "none" else []
                layers += [nn.ReLU(inplace=True)]
                channels = count
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        super().__init__(nn.Sequential(*layers), channels * height * width, classes)
