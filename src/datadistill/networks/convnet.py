"""The ConvNet family of DC, MTT and their successors.

Gidaris & Komodakis (2018), as used by Zhao et al. (2021), https://arxiv.org/abs/2006.05929: ``depth`` blocks
of 3 × 3 convolution, normalisation, activation and 2 × 2 pooling, then one linear layer.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from datadistill.core.errors import UsageError
from datadistill.networks.layers import (
    Activation,
    Classifier,
    MeanOfMaps,
    Norm,
    Pooling,
    Shape,
    build_activation,
    build_norm,
    build_pooling,
    padded,
)

MAX_DEPTH = 8


@dataclass(frozen=True, kw_only=True)
class ConvNetOptions:
    """What distinguishes the members of the family.

    Attributes:
        depth: Blocks, 1..8. By convention 3 for 32 pixels, 4 for 64, 5 for 128.
        width: Channels of every convolution.
        norm: Normalisation after every convolution.
        activation: Non-linearity after every normalisation.
        pooling: 2 × 2 pooling at the end of every block.
        head: What the linear layer sees of the last maps: all pixels, or the mean of each map (ConvNetGAP).

    Raises:
        UsageError: If ``depth`` or ``width`` is out of range.
    """

    depth: int = 3
    width: int = 128
    norm: Norm = "instance"
    activation: Activation = "relu"
    pooling: Pooling = "avg"
    head: Literal["pixels", "means"] = "pixels"

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= MAX_DEPTH:
            raise UsageError(f"a ConvNet has 1 to {MAX_DEPTH} blocks, got {self.depth}")
        if self.width < 1:
            raise UsageError(f"a ConvNet has a width of at least 1, got {self.width}")


class ConvNet(Classifier):
    """One member of the family, with torch's default initialisation.

    A 28 × 28 image with one channel is padded to 32 × 32 by its first convolution, as upstream.

    Args:
        options: Depth, width and layers.
        shape: (channels, height, width) of an image.
        classes: Number of logits.

    Raises:
        UsageError: If the image is too small to be halved ``depth`` times, or the width does not suit the
            norm.
    """

    def __init__(self, options: ConvNetOptions, shape: Shape, classes: int) -> None:
        channels, width = shape[0], options.width
        extra, height, side = padded(shape)
        halvings = 0 if options.pooling == "none" else options.depth
        if min(height, side) >> halvings < 1:
            raise UsageError(
                f"images of {shape[1]} x {shape[2]} pixels are too small for a ConvNet of {halvings} blocks"
            )
        layers: list[nn.Module] = []
        for block in range(options.depth):
            layers += [
                nn.Conv2d(channels, width, 3, padding=1 + (extra if block == 0 else 0)),
                build_norm(options.norm, (width, height, side)),
                build_activation(options.activation),
                build_pooling(options.pooling),
            ]
            channels = width
            if options.pooling != "none":
                height, side = height // 2, side // 2
        if options.head == "means":
            layers.append(MeanOfMaps())
            height = side = 1
        # Identity layers would cost a call each in the hottest loop there is.
        body = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))
        super().__init__(body, width * height * side, classes)
