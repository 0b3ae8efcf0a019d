"""Pictures of images: grids of enlarged pixels, written with Pillow."""

from pathlib import Path

import torch
from PIL import Image

from datadistill.core.arrays import Images
from datadistill.runtime.atomic import replacing

_GAP = 2
_MIN_TILE = 32


def tidy_columns(ipc: int, classes: int) -> int:
    """Return how many images stand in a row: those of one class, or several classes where each has only one."""
    return ipc if ipc > 1 else min(classes, 10)


def grid(pixels: Images, columns: int) -> Image.Image:
    """Return a picture with ``columns`` images per row, enlarged by a whole factor to at least 32 pixels.

    Args:
        pixels: In [0, 1]; values outside are clipped. One channel is grey, three are RGB, of any other
            number the first is shown.
        columns: Images per row, at least 1.
    """
    n, c, h, w = pixels.shape
    scale = max(1, -(-_MIN_TILE // min(h, w)))
    shown = pixels if c in (1, 3) else pixels[:, :1]
    bytes_ = (shown.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    tiles = bytes_.repeat_interleave(scale, 2).repeat_interleave(scale, 3).permute(0, 2, 3, 1)
    rows, high, wide = -(-n // columns), h * scale + _GAP, w * scale + _GAP
    canvas = torch.full((rows * high + _GAP, columns * wide + _GAP, tiles.shape[3]), 255, dtype=torch.uint8)
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * high + _GAP, (i % columns) * wide + _GAP
        canvas[top : top + h * scale, left : left + w * scale] = tile
    array = canvas.numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def save_grid(path: Path, pixels: Images, columns: int) -> None:
    """Write :func:`grid` as PNG, atomically."""
    with replacing(path) as aside:
        grid(pixels, columns).save(aside, format="PNG")
