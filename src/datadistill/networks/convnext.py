"""ConvNeXt (Liu et al., 2022), in the size called nano; its drop path is left out, as in every network here."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from datadistill.core.arrays import Images
from datadistill.core.errors import UsageError
from datadistill.networks.layers import ChannelNorm, Classifier, LayerNorm, MeanOfMaps, Shape

_SIZES = {"nano": ((2, 2, 8, 2), (80, 160, 320, 640))}
"""Blocks and channels of every stage."""

_SCALE = 1e-6


@dataclass(frozen=True, kw_only=True)
class ConvNeXtOptions:
    """What distinguishes the members of the family.

    Attributes:
        size: ``nano``.
        patch: Side of a patch of the stem in pixels; 2 for 32 pixels, 4 for 224.

    Raises:
        UsageError: If ``patch`` is less than 1.
    """

    size: Literal["nano"] = "nano"
    patch: int = 2

    def __post_init__(self) -> None:
        if self.patch < 1:
            raise UsageError(f"ConvNeXt has patches of at least 1 pixel, got {self.patch}")


class ConvNeXt(Classifier):
    """One member of the family: the linear layer sees the mean of the last maps, normalised.

    Args:
        options: Size and patch.
        shape: (channels, height, width) of an image.
        classes: Number of logits.

    Raises:
        UsageError: If the image is too small to be cut into patches and halved three times.
    """

    def __init__(self, options: ConvNeXtOptions, shape: Shape, classes: int) -> None:
        depths, widths = _SIZES[options.size]
        smallest = options.patch * 2 ** (len(depths) - 1)
        if min(shape[1:]) < smallest:
            raise UsageError(
                f"images of {shape[1]} x {shape[2]} pixels are too small for ConvNeXt; it needs {smallest}"
            )
        layers: list[nn.Module] = []
        channels, patch = shape[0], options.patch
        for depth, width in zip(depths, widths, strict=True):
            layers += [ChannelNorm(channels)] if layers else []
            layers += [nn.Conv2d(channels, width, patch, stride=patch)]
            layers += [] if len(layers) > 1 else [ChannelNorm(width)]
            layers += [_Block(width) for _ in range(depth)]
            channels, patch = width, 2
        layers += [MeanOfMaps(), LayerNorm((channels,))]
        super().__init__(nn.Sequential(*layers), channels, classes)


class _Block(nn.Module):
    """A convolution of every channel by itself, then a hidden layer for every pixel, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.channels = nn.Sequential(
            LayerNorm((width,)), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.scale = nn.Parameter(torch.full((width,), _SCALE))

    def forward(self, images: Images) -> Images:
        change: Tensor = self.channels(self.spatial(images).movedim(1, -1)) * self.scale
        return images + change.movedim(-1, 1)
