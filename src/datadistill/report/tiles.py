"""The distilled images as PNG tiles, arranged by class."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from datadistill.synthetic.artifact import Artifact
from datadistill.synthetic.pictures import REPETITIONS, Repetition, repeated

Bytes = npt.NDArray[np.uint8]
BUDGET = 6_000_000
"""Bytes of pixels shown at most; what is left out is said."""
ENLARGED = 96
"""Images up to this side are shown with hard pixel edges."""


@dataclass(frozen=True)
class ClassTiles:
    """The images of one class: its name, PNG data URIs, and how many there are in all."""

    name: str
    uris: tuple[str, ...]
    total: int


@dataclass(frozen=True)
class Gallery:
    """All tiles of one synthetic set, and how to lay them out.

    Attributes:
        title: Which iterate it is.
        classes: In the order of the labels.
        across: Classes side by side on a wide and on a narrow page.
        inner: Images of one class side by side, wide and narrow.
        in_rows: Whether a class fills a row of its own, its name at the left.
        pixelated: Whether the images are so small that their pixels should stay visible.
        note: What was left out; empty for nothing.
    """

    title: str
    classes: tuple[ClassTiles, ...]
    across: tuple[int, int]
    inner: tuple[int, int]
    in_rows: bool
    pixelated: bool
    note: str


def gallery(artifact: Artifact, title: str) -> Gallery:
    """Return the tiles of a set, as many per class as a page can carry."""
    card = artifact.card
    tiles, owners = displayed(artifact), rows_by_class(artifact)
    most = max((len(rows) for rows in owners), default=0)
    affordable = max(1, BUDGET // max(1, tiles[0].nbytes)) if len(tiles) else 0
    shown_classes = min(len(owners), affordable)
    per_class = min(most, max(1, affordable // max(1, len(owners))))
    classes = tuple(
        ClassTiles(name, tuple(png_uri(tiles[row]) for row in rows[:per_class]), len(rows))
        for name, rows in list(zip(card.classes, owners, strict=True))[:shown_classes]
    )
    across, inner = _columns(len(classes), per_class, _longest_word(card.classes))
    return Gallery(
        title=title,
        classes=classes,
        across=across,
        inner=inner,
        in_rows=across[0] == 1 and per_class > 1,
        pixelated=max(card.image_shape[1:]) <= ENLARGED,
        note=_left_out(shown_classes, len(owners), per_class, most),
    )


@dataclass(frozen=True)
class Wall:
    """The textures of a set laid beside themselves: a PNG data URI, its size in pixels, and what it shows."""

    uri: str
    width: int
    height: int
    text: str


_WALLS: dict[Repetition, str] = {
    "tiling": "every texture two by two: where its edges meet is in the middle",
    "strip": "every texture five times in a row",
}


def walls(artifact: Artifact) -> list[Wall]:
    """Return the textures of a set as they would be used; nothing where the set holds ordinary images."""
    if artifact.card.texture is None:
        return []
    firsts, shown = artifact.pixels()[:: artifact.card.ipc], []
    for kind in REPETITIONS:
        picture, stream = repeated(firsts, kind), io.BytesIO()
        picture.save(stream, format="PNG", optimize=True)
        shown.append(Wall(data_uri(stream.getvalue(), "image/png"), picture.width, picture.height, _WALLS[kind]))
    return shown


def displayed(artifact: Artifact) -> Bytes:
    """Return all images as ``[n h w c]`` bytes with one or three channels."""
    pixels = artifact.pixels().detach().cpu().float().nan_to_num()
    if pixels.shape[1] not in (1, 3):
        pixels = pixels[:, :1]
    return np.asarray((pixels * 255).round().permute(0, 2, 3, 1).contiguous().numpy(), dtype=np.uint8)


def rows_by_class(artifact: Artifact) -> list[list[int]]:
    """Return the rows of each class: by position, or by the largest target where the counts do not fit."""
    card, n = artifact.card, len(artifact.synthetic)
    k = len(card.classes)
    if n == k * card.ipc:
        return [list(range(label * card.ipc, (label + 1) * card.ipc)) for label in range(k)]
    labels = artifact.labels.tolist()
    return [[row for row in range(n) if labels[row] == label] for label in range(k)]


def png_uri(tile: Bytes) -> str:
    """Return one ``[h w c]`` image as a PNG data URI."""
    image = Image.fromarray(tile[:, :, 0] if tile.shape[2] == 1 else tile)
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return data_uri(stream.getvalue(), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """Return bytes as a data URI of a media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _columns(classes: int, ipc: int, word: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return classes side by side and images of a class side by side, each for a wide and a narrow page."""
    if ipc <= 1:
        return (5 if classes <= 10 else 10, 5 if word <= 7 else 4), (1, 1)
    if ipc <= 5:
        return (5 if ipc <= 3 else 2, max(1, 5 // ipc)), (ipc, ipc)
    if ipc <= 12:
        return (1, 1), (max(10, ipc), 5 if ipc <= 10 else 6)
    return (1, 1), (25 if ipc % 10 or ipc >= 40 else 20, 10)


def _longest_word(names: tuple[str, ...]) -> int:
    return max((len(word) for name in names for word in name.replace("_", " ").split()), default=0)


def _left_out(classes: int, of_classes: int, per_class: int, of_images: int) -> str:
    parts = []
    if classes < of_classes:
        parts.append(f"the first {classes:,} of {of_classes:,} classes")
    if per_class < of_images:
        parts.append(f"the first {per_class:,} of {of_images:,} images per class")
    return f"Shown are {' and '.join(parts)}; the rest is in the file." if parts else ""
