"""ResNet (He et al., 2016) as DC and MTT use it: for CIFAR, with instance norm, batch norm, or average pooling."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from datadistill.core.arrays import Images
from datadistill.core.errors import UsageError
from datadistill.networks.layers import Classifier, MeanOfMaps, Norm, Shape, build_norm

_BLOCKS = {
    6: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks of every stage, by what upstream calls the network; ResNet6 counts ten layers."""

_BOTTLENECKS = (50, 101, 152)
_EXPANSION = 4
_STAGES = (64, 128, 256, 512)
_POOLED = 4
"""Side of the regions that are averaged at the end: all of the last maps for 32 pixels."""


@dataclass(frozen=True, kw_only=True)
class ResNetOptions:
    """What distinguishes the members of the family.

    Attributes:
        depth: 6, 18, 34, 50, 101 or 152.
        norm: Normalisation after every convolution; upstream's is instance norm, or batch norm (ResNet18BN).
        halving: How maps become smaller: ``stride`` of a convolution, or ``average`` pooling behind one (ResNet18_AP).
        stem: ``cifar``: a 3 × 3 convolution; ``imagenet``: 7 × 7 with stride and pooling, and a mean at the end.

    Raises:
        UsageError: If there is no ResNet of that depth.
    """

    depth: int = 18
    norm: Norm = "instance"
    halving: Literal["stride", "average"] = "stride"
    stem: Literal["cifar", "imagenet"] = "cifar"

    def __post_init__(self) -> None:
        if self.depth not in _BLOCKS:
            raise UsageError(f"ResNet has {', '.join(map(str, _BLOCKS))} layers, got {self.depth}")


class ResNet(Classifier):
    """One member of the family; 11,173,962 parameters for ResNet-18 and CIFAR-10.

    The linear layer sees the last maps averaged over 4 × 4 pixels: 512 features for 32 pixels and 2,048 for 64, as in
    APM. With average pooling it sees them as they are, as upstream.

    Args:
        options: Depth, norm, halving and stem.
        shape: (channels, height, width) of an image.
        classes: Number of logits.

    Raises:
        UsageError: If the image is too small: the last maps of one pixel would be erased by instance norm.
    """

    def __init__(self, options: ResNetOptions, shape: Shape, classes: int) -> None:
        layers, maps = _stem(options, shape)
        for number, (channels, blocks) in enumerate(zip(_STAGES, _BLOCKS[options.depth], strict=True)):
            for block in range(blocks):
                residual = _Residual(options, maps, channels, halved=number > 0 and block == 0)
                layers.append(residual)
                maps = residual.shape
        if min(maps[1:]) < 2:
            raise UsageError(
                f"images of {shape[1]} x {shape[2]} pixels are too small for this ResNet: "
                f"its last maps would be of {maps[1]} x {maps[2]} pixels, and need 2 x 2"
            )
        height, width = maps[1:]
        if options.stem == "imagenet":
            layers.append(MeanOfMaps())
            height = width = 1
        elif options.halving == "stride":
            region = min(_POOLED, height), min(_POOLED, width)
            layers.append(nn.AvgPool2d(region))
            height, width = height // region[0], width // region[1]
        super().__init__(nn.Sequential(*layers), maps[0] * height * width, classes)


class _Residual(nn.Module):
    """Two convolutions, or three around a bottleneck, and a shortcut.

    Attributes:
        shape: Of the maps it returns.
    """

    def __init__(self, options: ResNetOptions, maps: Shape, channels: int, *, halved: bool) -> None:
        super().__init__()
        given, height, width = maps
        bottleneck = options.depth in _BOTTLENECKS
        wide = channels * _EXPANSION if bottleneck else channels
        pool: list[nn.Module] = [nn.AvgPool2d(2)] if halved and options.halving == "average" else []
        stride = 2 if halved and not pool else 1
        small = (height // 2, width // 2) if pool else (-(-height // stride), -(-width // stride))
        inside = (height, width) if pool else small  # average pooling comes after norm and ReLU
        self.shape: Shape = (wide, *small)

        def convolution(before: int, after: int, kernel: int, step: int, sides: tuple[int, int]) -> list[nn.Module]:
            layer = nn.Conv2d(before, after, kernel, stride=step, padding=kernel // 2, bias=False)
            return [layer, build_norm(options.norm, (after, *sides))]

        if bottleneck:
            layers = [*convolution(given, channels, 1, 1, (height, width)), nn.ReLU(inplace=True)]
            layers += [*convolution(channels, channels, 3, stride, inside), nn.ReLU(inplace=True), *pool]
            layers += convolution(channels, wide, 1, 1, small)
        else:
            layers = [*convolution(given, channels, 3, stride, inside), nn.ReLU(inplace=True), *pool]
            layers += convolution(channels, wide, 3, 1, small)
        self.body = nn.Sequential(*layers)
        self.shortcut = nn.Sequential()
        if halved or given != wide:
            projection, norm = convolution(given, wide, 1, stride, small)
            self.shortcut = nn.Sequential(projection, *pool, norm)

    def forward(self, images: Images) -> Tensor:
        """Return maps of another shape."""
        maps: Tensor = self.body(images) + self.shortcut(images)
        return torch.relu(maps)


def _stem(options: ResNetOptions, shape: Shape) -> tuple[list[nn.Module], Shape]:
    """Return the first layers and the shape of what they return."""
    channels, height, width = shape
    first = _STAGES[0]
    if options.stem == "cifar":
        layer = nn.Conv2d(channels, first, 3, padding=1, bias=False)
        return [layer, build_norm(options.norm, (first, height, width)), nn.ReLU(inplace=True)], (first, height, width)
    layer = nn.Conv2d(channels, first, 7, stride=2, padding=3, bias=False)
    halved = -(-height // 2), -(-width // 2)
    norm = build_norm(options.norm, (first, *halved))
    quartered = -(-halved[0] // 2), -(-halved[1] // 2)
    return [layer, norm, nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)], (first, *quartered)
