"""Pictures of images: grids of enlarged pixels, written with Pillow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from datadistill.core.arrays import Images
from datadistill.runtime.atomic import replacing

_GAP = 2
_MIN_TILE = 32

Repetition = Literal["tiling", "strip"]
REPETITIONS: dict[Repetition, tuple[int, int, int]] = {"tiling": (2, 2, 5), "strip": (1, 5, 1)}
"""How a texture is shown on a wall: laid so often down and along, and how many stand in a row."""
_MOST_REPEATED = 10
MOST_BATCHES = 20
"""Batches of a set with an order that are shown."""
_MOST_IN_ROW = 25
_MOST_STEPS = 6


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
    scale = _scale(h, w)
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


def _scale(h: int, w: int) -> int:
    return max(1, -(-_MIN_TILE // min(h, w)))


def read_grid(path: Path, size: tuple[int, int], columns: int, count: int) -> Images:
    """Return the images of a picture that :func:`save_grid` has written, in [0, 1], to 1/255.

    Args:
        path: The picture.
        size: Height and width of an image.
        columns: Images per row.
        count: How many images there are.
    """
    (h, w), scale = size, _scale(*size)
    with Image.open(path) as picture:
        pixels = torch.from_numpy(np.array(picture))
    cells = pixels[_GAP:, _GAP:].reshape(-1, h * scale + _GAP, columns, w * scale + _GAP, 1 if pixels.ndim == 2 else 3)
    tiles = cells[:, : h * scale : scale, :, : w * scale : scale].permute(0, 2, 4, 1, 3).flatten(0, 1)
    return tiles[:count].float() / 255


def repeated(pixels: Images, kind: Repetition) -> Image.Image:
    """Return a picture of the first ten canvases, each laid beside itself as textures are.

    Args:
        pixels: In [0, 1].
        kind: ``tiling``: two by two; ``strip``: five in a row.
    """
    down, along, columns = REPETITIONS[kind]
    shown = pixels[:_MOST_REPEATED].repeat(1, 1, down, along)
    return grid(shown, min(columns, len(shown)))


def step_label(steps: Sequence[int], rates: Sequence[float]) -> str:
    """Return when a batch is used, counted from 1, and with which step sizes: ``steps 1, 11: 0.021, 0.019``."""
    times = ", ".join(f"{step + 1:,}" for step in steps[:_MOST_STEPS]) + (", …" if len(steps) > _MOST_STEPS else "")
    sizes = ", ".join(f"{rate:.3g}" for rate in rates[:_MOST_STEPS]) + (", …" if len(rates) > _MOST_STEPS else "")
    return f"step{'s' if len(steps) > 1 else ''} {times}" + (f": {sizes}" if sizes else "")


def step_rows(batches: Sequence[Images], labels: Sequence[str]) -> Image.Image:
    """Return a picture with a row per batch, a line of text under each; the first 25 images of every batch.

    Args:
        batches: In [0, 1], at least one.
        labels: As many: when each is used.
    """
    rows = [grid(batch[:_MOST_IN_ROW], min(len(batch), _MOST_IN_ROW)).convert("RGB") for batch in batches]
    font = ImageFont.load_default()
    high = round(max(font.getbbox(label)[3] for label in labels)) + 2 * _GAP
    wide = max(*(row.width for row in rows), *(round(font.getlength(label)) + 2 * _GAP for label in labels))
    canvas = Image.new("RGB", (wide, sum(row.height + high for row in rows)), "white")
    pen, top = ImageDraw.Draw(canvas), 0
    for row, label in zip(rows, labels, strict=True):
        canvas.paste(row, (0, top))
        pen.text((_GAP, top + row.height), label, fill="black", font=font)
        top += row.height + high
    return canvas


def save_steps(path: Path, batches: Sequence[Images], labels: Sequence[str]) -> None:
    """Write :func:`step_rows` as PNG, atomically."""
    with replacing(path) as aside:
        step_rows(batches, labels).save(aside, format="PNG")


def save_grid(path: Path, pixels: Images, columns: int) -> None:
    """Write :func:`grid` as PNG, atomically."""
    with replacing(path) as aside:
        grid(pixels, columns).save(aside, format="PNG")


def save_repeated(path: Path, pixels: Images, kind: Repetition) -> None:
    """Write :func:`repeated` as PNG, atomically."""
    with replacing(path) as aside:
        repeated(pixels, kind).save(aside, format="PNG")
