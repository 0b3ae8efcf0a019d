"""Textures: canvases without edges that are seen through random windows.

Cazenavette et al.: Wearable ImageNet: Synthesizing Tileable Textures via Dataset Distillation, CVPR Workshops 2022.
Every use of a canvas rolls it by two random offsets, edges joined to edges, and takes the upper left image. Whatever
is trained on the set sees windows only, so that no place of a canvas is its edge.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from datadistill.core.arrays import Images
from datadistill.core.randomness import Randomness


@dataclass(frozen=True, kw_only=True)
class Texture:
    """How the canvases of a synthetic set are seen: a view of the set, not an augmentation.

    Attributes:
        canvas: Images side by side on a canvas, and one below the other, at least 1.
        samples: Windows that every use of a canvas takes, at least 1.
        start: What canvases of real images are made of: ``mirrored``: one image and its mirror images, which meet
            without seams, on a canvas of an even number of images; ``tiles``: different images. Absent for ``mirrored``
            where the number is even.
    """

    canvas: int = 2
    samples: int = 1
    start: Literal["mirrored", "tiles"] | None = None

    def __post_init__(self) -> None:
        if min(self.canvas, self.samples) < 1:
            raise ValueError(f"canvas and samples must be at least 1, got {self.canvas} and {self.samples}")
        if self.start == "mirrored" and self.canvas % 2:
            raise ValueError(f"start 'mirrored' needs an even canvas, got {self.canvas}; set start = 'tiles'")

    @property
    def mirrored(self) -> bool:
        """Whether canvases of real images are one image and its mirror images."""
        return self.start == "mirrored" or (self.start is None and self.canvas % 2 == 0)

    @property
    def tiles(self) -> int:
        """Real images that fill a canvas at the start."""
        return 1 if self.mirrored else self.canvas * self.canvas

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return channels, height and width of a canvas for images of this shape."""
        c, h, w = image
        return c, h * self.canvas, w * self.canvas

    def repeat(self, rows: Tensor) -> Tensor:
        """Return rows of a set as often as windows are taken of each: what goes with :meth:`draw`."""
        return rows.repeat(self.samples)

    def draw(self, rng: Randomness, *, steps: int, batch: int) -> Float[Tensor, "t b 2"]:
        """Return offsets for ``steps`` uses of ``batch`` canvases, in parts of a canvas, on the CPU.

        Args:
            rng: Stream ``texture`` is drawn from it, so that no other stream is shifted.
            steps: Uses.
            batch: Canvases per use; b is ``samples`` times as many.
        """
        generator = rng.stream("texture")
        return torch.rand(steps, batch * self.samples, 2, generator=generator, device="cpu")

    def windows(self, canvases: Float[Tensor, "n c H W"], offsets: Float[Tensor, "n 2"]) -> Images:
        """Return one window of each canvas; differentiable, deterministic, without host syncs.

        Args:
            canvases: Of height canvas·h and width canvas·w.
            offsets: Where the upper left corner of each window lies, in [0, 1), vertical first.
        """
        for axis in (2, 3):
            size = canvases.shape[axis]
            corner = (offsets[:, axis - 2] * size).long()
            places = (corner[:, None] + torch.arange(size // self.canvas, device=canvases.device)) % size
            view = [len(canvases), 1, 1, 1]
            view[axis] = places.shape[1]
            whole = list(canvases.shape)
            whole[axis] = places.shape[1]
            canvases = canvases.gather(axis, places.view(view).expand(whole))
        return canvases

    def assemble(self, images: Images) -> Float[Tensor, "_ c H W"]:
        """Return canvases made of ``images``, ``tiles`` of them each, row by row."""
        c, h, w = images.shape[1:]
        if self.mirrored:
            pair = torch.cat([images, images.flip(3)], 3)
            return torch.cat([pair, pair.flip(2)], 2).repeat(1, 1, self.canvas // 2, self.canvas // 2)
        grid = images.view(-1, self.canvas, self.canvas, c, h, w)
        return grid.permute(0, 3, 1, 4, 2, 5).reshape(-1, *self.shape((c, h, w)))


def seam(canvases: Float[Tensor, "n c h w"], canvas: int) -> float:
    """Return how visible the seams are: the mean difference of pixels across them, in parts of that of all others.

    Seams run around every image that a canvas is made of, and where its edges meet. 1 where they cannot be told from
    any other place, and where nothing changes anywhere.

    Args:
        canvases: In pixel space.
        canvas: Images side by side on a canvas.
    """
    across, within = [], []
    for axis in (2, 3):
        size = canvases.shape[axis]
        steps = (canvases.double().roll(-1, axis) - canvases.double()).abs().movedim(axis, 0)
        ends = torch.arange(1, size + 1, device=canvases.device) % (size // canvas) == 0
        across.append(steps[ends].flatten())
        within.append(steps[~ends].flatten())
    elsewhere = torch.cat(within).mean().item()
    return torch.cat(across).mean().item() / elsewhere if elsewhere > 0 else 1.0
