"""Vision transformers (Dosovitskiy et al., 2021): ViT-Tiny, and the one that APM evaluates on.

Dropout is left out (APM has 0.1): what draws random numbers cannot be recomputed. Attention is written with matrix
products, because torch's own on the CPU cannot be differentiated twice.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from datadistill.core.arrays import Images
from datadistill.core.errors import UsageError
from datadistill.networks.layers import Classifier, LayerNorm, Shape

Tokens = Float[Tensor, "n t d"]

_HEAD_WIDTH = 64


@dataclass(frozen=True)
class _Size:
    """Width of a token, blocks, attention heads of 64, width of the hidden layer; std of the learned embeddings."""

    width: int
    depth: int
    heads: int
    hidden: int
    bias: bool
    std: float


_SIZES = {"tiny": _Size(192, 12, 3, 768, True, 0.02), "apm": _Size(512, 3, 4, 512, False, 1.0)}


@dataclass(frozen=True, kw_only=True)
class ViTOptions:
    """What distinguishes the members of the family.

    Attributes:
        size: ``tiny`` (192 wide, 12 blocks) or ``apm`` (512 wide, 3 blocks).
        patch: Side of a patch in pixels; 4 for 32 pixels, 16 for 224.

    Raises:
        UsageError: If ``patch`` is less than 1.
    """

    size: Literal["tiny", "apm"] = "apm"
    patch: int = 4

    def __post_init__(self) -> None:
        if self.patch < 1:
            raise UsageError(f"ViT has patches of at least 1 pixel, got {self.patch}")


class ViT(Classifier):
    """One member of the family: the linear layer sees the class token, normalised.

    Args:
        options: Size and patch.
        shape: (channels, height, width) of an image.
        classes: Number of logits.

    Raises:
        UsageError: If patches do not tile the image.
    """

    def __init__(self, options: ViTOptions, shape: Shape, classes: int) -> None:
        patch = options.patch
        if shape[1] % patch or shape[2] % patch:
            raise UsageError(
                f"images of {shape[1]} x {shape[2]} pixels cannot be cut into patches of {patch} x {patch}"
            )
        size = _SIZES[options.size]
        super().__init__(_Transformer(size, shape, patch), size.width, classes)


class _Transformer(nn.Module):
    """Returns the class token ``[n d]``."""

    def __init__(self, size: _Size, shape: Shape, patch: int) -> None:
        super().__init__()
        channels, height, width = shape
        count = (height // patch) * (width // patch)
        self.token = nn.Parameter(size.std * torch.randn(1, 1, size.width))
        self.positions = nn.Parameter(size.std * torch.randn(1, count + 1, size.width))
        self.patches = nn.Conv2d(channels, size.width, patch, stride=patch)
        self.blocks = nn.Sequential(*(_Block(size) for _ in range(size.depth)))
        self.norm = LayerNorm((size.width,))

    def forward(self, images: Images) -> Float[Tensor, "n d"]:
        patches = self.patches(images).flatten(2).mT
        token = self.token.expand(len(patches), -1, -1)
        tokens: Tensor = self.blocks(torch.cat([token, patches], 1) + self.positions)
        normalised: Tensor = self.norm(tokens[:, 0])
        return normalised


class _Block(nn.Module):
    """Attention and a hidden layer, each behind a norm and beside a shortcut."""

    def __init__(self, size: _Size) -> None:
        super().__init__()
        inner = size.heads * _HEAD_WIDTH
        self.heads = size.heads
        self.norm = LayerNorm((size.width,))
        self.qkv = nn.Linear(size.width, 3 * inner, bias=size.bias)
        self.out = nn.Linear(inner, size.width)
        self.mlp = nn.Sequential(
            LayerNorm((size.width,)),
            nn.Linear(size.width, size.hidden),
            nn.GELU(),
            nn.Linear(size.hidden, size.width),
        )

    def forward(self, tokens: Tokens) -> Tokens:
        n, t, _ = tokens.shape
        split = self.qkv(self.norm(tokens)).view(n, t, 3, self.heads, _HEAD_WIDTH)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        weights = (query @ key.mT * _HEAD_WIDTH**-0.5).softmax(-1)
        tokens = tokens + self.out((weights @ value).transpose(1, 2).flatten(2))
        result: Tensor = tokens + self.mlp(tokens)
        return result
