"""Three networks called AlexNet: that of DC and MTT for CIFAR, and both of Dataset Distillation (2018).

After Krizhevsky, Sutskever & Hinton (2012). Upstream's dropout is left out: what draws random numbers cannot be
recomputed.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from datadistill.core.errors import UsageError
from datadistill.networks.layers import Classifier, Norm, Shape, build_norm, padded

_CIFAR = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))
"""Channels and kernel of every convolution, and whether its maps are pooled."""

_IMAGENET_SMALLEST = 63


@dataclass(frozen=True, kw_only=True)
class AlexNetOptions:
    """What distinguishes the members of the family.

    Attributes:
        norm: Normalisation after every convolution.
        stem: ``cifar`` is DC's and MTT's; ``imagenet`` is that of 2012, for 224 pixels, without norm.

    Raises:
        UsageError: If the network of 2012 is asked for with a norm.
    """

    norm: Norm = "none"
    stem: Literal["cifar", "imagenet"] = "cifar"

    def __post_init__(self) -> None:
        if self.stem == "imagenet" and self.norm != "none":
            raise UsageError("alexnet-imagenet has no norm")


def build_alexnet(options: AlexNetOptions, shape: Shape, classes: int) -> nn.Module:
    """Return the member of the family.

    Raises:
        UsageError: If the image is too small.
    """
    return ImageNetAlexNet(shape, classes) if options.stem == "imagenet" else AlexNet(options.norm, shape, classes)


class AlexNet(Classifier):
    """DC's and MTT's: five convolutions, three of them pooled, one linear layer; 1,872,202 parameters for CIFAR-10.

    Args:
        norm: Normalisation after every convolution; upstream's is none, or batch norm (AlexNetBN).
        shape: (channels, height, width) of an image.
        classes: Number of logits.

    Raises:
        UsageError: If the image is too small to be halved three times.
    """

    def __init__(self, norm: Norm, shape: Shape, classes: int) -> None:
        channels = shape[0]
        extra, height, width = padded(shape)
        if min(height, width) < 8:
            raise UsageError(f"images of {shape[1]} x {shape[2]} pixels are too small for AlexNet; it needs 8")
        layers: list[nn.Module] = []
        for number, (count, kernel, pooled) in enumerate(_CIFAR):
            padding = kernel // 2 + (extra if number == 0 else 0)
            layers += [nn.Conv2d(channels, count, kernel, padding=padding)]
            layers += [build_norm(norm, (count, height, width))] if norm != "none" else []
            layers += [nn.ReLU(inplace=True)]
            if pooled:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            channels = count
        super().__init__(nn.Sequential(*layers), channels * height * width, classes)


class ImageNetAlexNet(Classifier):
    """torchvision's AlexNet without dropout; 57,085,780 parameters for 20 classes.

    Maps that are not 6 × 6 at the end, which those of 224 pixels are, are averaged to that size, as torchvision does.

    Args:
        shape: (channels, height, width) of an image.
        classes: Number of logits.

    Raises:
        UsageError: If the image is too small.
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        if min(shape[1:]) < _IMAGENET_SMALLEST:
            smallest = f"it needs {_IMAGENET_SMALLEST}"
            raise UsageError(f"images of {shape[1]} x {shape[2]} pixels are too small for alexnet-imagenet; {smallest}")
        pooled = tuple(map(_side_at_the_end, shape[1:]))
        body = nn.Sequential(
            nn.Conv2d(shape[0], 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            *([] if pooled == (6, 6) else [nn.AdaptiveAvgPool2d(6)]),
            nn.Flatten(),
            nn.Linear(256 * 36, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
        )
        super().__init__(body, 4096, classes)


def _side_at_the_end(side: int) -> int:
    """Return the side of the last maps: a convolution of stride 4, and three times pooling of 3 by 2."""
    side = (side - 7) // 4 + 1
    for _ in range(3):
        side = (side - 1) // 2
    return side


class AlexCifarNet(Classifier):
    """Dataset Distillation's for CIFAR: two convolutions with local response norm – 384 – 192; 1,756,426 parameters.

    Args:
        shape: (channels, height, width) of an image; upstream allows only 3 × 32 × 32.
        classes: Number of logits.
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        height, width = (-(-side // 4) for side in shape[1:])
        body = nn.Sequential(
            nn.Conv2d(shape[0], 64, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
            _response_norm(),
            nn.Conv2d(64, 64, 5, padding=2),
            nn.ReLU(inplace=True),
            _response_norm(),
            nn.MaxPool2d(3, 2, 1),
            nn.Flatten(),
            nn.Linear(64 * height * width, 384),
            nn.ReLU(inplace=True),
            nn.Linear(384, 192),
            nn.ReLU(inplace=True),
        )
        super().__init__(body, 192, classes)


def _response_norm() -> nn.Module:
    return nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1)
