"""Layers that a recomputed, doubly differentiated student may contain, by name.

*Instance norm* is ``nn.GroupNorm`` with one channel per group, *layer norm* normalises over channels and pixels,
as in the networks of DC and MTT. Differentiated through ``vmap(grad(loss))``, torch 2.13's own layer,
instance and batch norm give silently wrong second derivatives (4 % to 11 % measured in float64): their
batching rules treat the moments as constants. ``F.group_norm`` is right, and what is written by hand.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from datadistill.core.arrays import Images, Logits
from datadistill.core.errors import UsageError

Norm = Literal["instance", "batch", "layer", "group", "none"]
Activation = Literal["relu", "sigmoid", "leakyrelu", "swish"]
Pooling = Literal["avg", "max", "none"]

_GROUPS = 4  # of the "group" norm, as in DC's ConvNetGN
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "sigmoid": nn.Sigmoid,
    "leakyrelu": nn.LeakyReLU,  # slope 0.01
    "swish": nn.SiLU,
}
_POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "avg": lambda: nn.AvgPool2d(2),
    "max": lambda: nn.MaxPool2d(2),
    "none": nn.Identity,
}
assert set(_ACTIVATIONS) == set(get_args(Activation))
assert set(_POOLINGS) == set(get_args(Pooling))

Shape = tuple[int, int, int]
"""(channels, height, width) of an image or a feature map."""

Moments = tuple[Float[Tensor, " c"], Float[Tensor, " c"]]
"""Mean and unbiased variance of every channel."""


class Classifier(nn.Module):
    """A body and one linear layer: every network here.

    Attributes:
        body: Maps images to features.
        classifier: The linear layer.

    Args:
        body: Whatever it returns is flattened.
        width: Number of features.
        classes: Number of logits.
    """

    def __init__(self, body: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.classifier = nn.Linear(width, classes)

    def features(self, images: Images) -> Float[Tensor, "n d"]:
        """Return what the linear layer sees."""
        found: Tensor = self.body(images)
        return found.flatten(1)

    def forward(self, images: Images) -> Logits:
        """Return the logits."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


class BatchNorm(nn.Module):
    """Batch normalisation without buffers (Ioffe & Szegedy, 2015), affine, over images and pixels.

    Without ``given`` moments it normalises by those of the batch. A
    :class:`~datadistill.networks.flat.FlatNetwork` sets ``given`` for one call and reads ``seen`` after it.

    Attributes:
        channels: Number of channels.
        given: Moments to normalise by, or None.
        seen: Moments of the last batch, kept only while ``recording``; the variance is the unbiased one,
            as torch keeps in ``running_var``.
        recording: Whether to compute ``seen``.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels = channels
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.given: Moments | None = None
        self.seen: Moments | None = None
        self.recording = False

    def forward(self, images: Images) -> Images:
        """Return the normalised images."""
        if self.given is None:
            mean = images.mean((0, 2, 3))
            centred = images - mean.view(-1, 1, 1)
            variance = centred.square().mean((0, 2, 3))
            if self.recording:
                count = images.shape[0] * images.shape[2] * images.shape[3]
                self.seen = (mean, variance * (count / max(count - 1, 1)))
        else:
            mean, variance = self.given
            centred = images - mean.view(-1, 1, 1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias.view(-1, 1, 1), centred, scale.view(-1, 1, 1))


class LayerNorm(nn.Module):
    """Layer normalisation (Ba, Kiros & Hinton, 2016), affine, over the last dimensions.

    Equals ``nn.LayerNorm`` and costs the same, but is exact under every transform.

    Attributes:
        shape: Sizes of the dimensions to normalise over.
    """

    def __init__(self, shape: tuple[int, ...], *, eps: float = 1e-5) -> None:
        super().__init__()
        self.shape = shape
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, inputs: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the normalised inputs."""
        one_group = inputs.reshape(-1, 1, math.prod(self.shape))
        normalised = functional.group_norm(one_group, 1, eps=self.eps).view(inputs.shape)
        return torch.addcmul(self.bias, normalised, self.weight)


class ChannelNorm(LayerNorm):
    """Layer normalisation of every pixel over its channels, as in ConvNeXt.

    Args:
        channels: Number of channels.
        eps: Added to the variance.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__((channels,), eps=eps)

    def forward(self, images: Images) -> Images:
        """Return the normalised images."""
        return super().forward(images.movedim(1, -1)).movedim(-1, 1)


class MeanOfMaps(nn.Module):
    """Global average pooling; torch's own cannot do without a slow path under vmap."""

    def forward(self, images: Images) -> Float[Tensor, "n c"]:
        """Return the mean of every map."""
        return images.mean((2, 3))


def padded(shape: Shape) -> tuple[int, int, int]:
    """Return what a first convolution pads an image by beyond its own padding, and the height and width that count.

    Grey images of 28 × 28 pixels are padded to 32 × 32, as in DC and MTT; others are taken as they are.
    """
    extra = 2 if shape == (1, 28, 28) else 0
    return extra, shape[1] + 2 * extra, shape[2] + 2 * extra


def build_norm(norm: Norm, shape: Shape) -> nn.Module:
    """Return the layer that normalises feature maps of ``shape`` = (channels, height, width).

    Raises:
        UsageError: If group norm's four groups do not divide the channels.
    """
    channels = shape[0]
    if norm == "instance":
        return nn.GroupNorm(channels, channels)
    if norm == "batch":
        return BatchNorm(channels)
    if norm == "layer":
        return LayerNorm(shape)
    if norm == "group":
        if channels % _GROUPS:
            raise UsageError(f"group norm needs a width divisible by {_GROUPS}, got {channels}")
        return nn.GroupNorm(_GROUPS, channels)
    return nn.Identity()


def build_activation(activation: Activation) -> nn.Module:
    """Return the activation layer of that name; a ReLU works in place.

    Its derivatives need its output alone, and no norm before it needs what it overwrites. The other activations need
    their input.
    """
    return _ACTIVATIONS[activation]()


def build_pooling(pooling: Pooling) -> nn.Module:
    """Return the 2 × 2 pooling layer of that name with stride 2."""
    return _POOLINGS[pooling]()
