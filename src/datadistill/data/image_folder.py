"""A folder of pictures: ``train`` and ``test`` (or ``val``) with a folder per class, or the classes alone."""

import struct
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datadistill.core.arrays import Pixels
from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data.assemble import assemble, make_split
from datadistill.data.base import RealData
from datadistill.data.split import TEST_SHARE, part_test
from datadistill.runtime.device import usable_cores
from datadistill.runtime.progress import Reporter, Silent

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
_TEST_FOLDERS = ("test", "val", "validation")
_GREY = {"1", "L", "LA"}
_COLOUR = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"}
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_CHUNK = 64  # files per task of the pool

Files = list[tuple[Path, int]]
"""Paths with their labels."""


@dataclass(frozen=True)
class _Form:
    """What every image is brought to."""

    width: int
    height: int
    grey: bool
    note: str


def read_image_folder(root: Path, reporter: Reporter = Silent()) -> RealData:  # noqa: B008 (has no state)
    """Return the images below ``root``, grey if all are, RGB otherwise; classes in alphabetical order.

    Images of another size than the most common one are resized to it, and the card says how many. Without
    a folder for tests a fifth is taken out, stratified and the same every time.

    Args:
        root: Folder with ``train`` and ``test``, ``val`` or ``validation``; or with one folder per class.
        reporter: Where the progress is shown.

    Raises:
        DataNotFoundError: If there is no such folder.
        DataError: If the layout is another one, a class is empty or without training images, or a file
            cannot be decoded; names it.
    """
    if not root.is_dir():
        raise DataNotFoundError(f"{root}: no such folder")
    classes, train, test, words = _layout(root)
    form = _common_form([path for path, _ in (*train, *test)], reporter)
    images = _decode([path for path, _ in (*train, *test)], form, reporter)
    labels = torch.tensor([label for _, label in (*train, *test)])
    count = len(train)
    return assemble(
        make_split(images[:count], labels[:count], len(classes), f"{root}: training images"),
        make_split(images[count:], labels[count:], len(classes), f"{root}: test images"),
        name=root.resolve().name,
        classes=classes,
        source=f"image folder {root}{form.note}",
        licence="not stated",
        split=words,
    )


def _layout(root: Path) -> tuple[tuple[str, ...], Files, Files, str]:
    """Return class names, training and test files, and how they were separated, in words."""
    folders = {folder.name.lower(): folder for folder in _folders(root)}
    tests = [folders[name] for name in _TEST_FOLDERS if name in folders]
    if "train" not in folders and not tests:
        return _one_folder(root)
    if "train" not in folders or not tests:
        there, lacking = ("train", "test, val or validation") if not tests else (tests[0].name, "train")
        raise DataError(f"{root}: has a folder '{there}' but no folder {lacking}")
    classes = _classes(folders["train"])
    extra = [folder.name for folder in _folders(tests[0]) if folder.name not in classes]
    if extra:
        raise DataError(f"{tests[0]}: class '{extra[0]}' has no folder in {folders['train']}")
    train, test = _files(folders["train"], classes), _files(tests[0], classes)
    unread = f" ('{tests[1].name}' is not read)" if len(tests) > 1 else ""
    words = f"folders 'train' ({len(train)} images) and '{tests[0].name}' ({len(test)}) as test{unread}"
    return classes, train, test, words


def _one_folder(root: Path) -> tuple[tuple[str, ...], Files, Files, str]:
    classes = _classes(root)
    files = _files(root, classes)
    train, test = part_test(torch.tensor([label for _, label in files]), str(root))
    words = f"{len(test)} of {len(files)} images ({TEST_SHARE:.0%}) as test, stratified by class, fixed"
    return classes, [files[i] for i in train.tolist()], [files[i] for i in test.tolist()], words


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _classes(root: Path) -> tuple[str, ...]:
    names = tuple(folder.name for folder in _folders(root))
    if not names:
        raise DataError(f"{root}: contains no class folders")
    return names


def _files(root: Path, classes: tuple[str, ...]) -> Files:
    files: Files = []
    for folder in _folders(root):
        inside = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
        )
        if not inside:
            raise DataError(f"{folder}: class without images")
        files += [(path, classes.index(folder.name)) for path in inside]
    return files


def _common_form(paths: list[Path], reporter: Reporter) -> _Form:
    heads: list[tuple[tuple[int, int], bool]] = [((0, 0), False)] * len(paths)

    def look(index: int) -> None:
        try:
            with Image.open(paths[index]) as image:
                size, mode = image.size, image.mode
        except _BROKEN as error:
            raise DataError(f"{paths[index]}: not a readable image ({error})") from error
        if mode not in _GREY | _COLOUR:
            raise DataError(f"{paths[index]}: pixels of type '{mode}'; only 8-bit grey or colour can be read")
        heads[index] = size, mode in _GREY

    _in_pool(look, len(paths), "reading headers", reporter)
    sizes = Counter(size for size, _ in heads)
    (width, height), count = max(sizes.items(), key=lambda item: (item[1], item[0]))
    resized = len(paths) - count
    note = f"; {resized} of {len(paths)} images resized to {width}x{height} (Lanczos)" if resized else ""
    return _Form(width, height, all(grey for _, grey in heads), note)


def _decode(paths: list[Path], form: _Form, reporter: Reporter) -> Pixels:
    channels = 1 if form.grey else 3
    images = torch.empty(len(paths), channels, form.height, form.width, dtype=torch.uint8)

    def decode(index: int) -> None:
        try:
            with Image.open(paths[index]) as image:
                images[index] = _pixels(image, form)
        except _BROKEN as error:
            raise DataError(f"{paths[index]}: not a readable image ({error})") from error

    _in_pool(decode, len(paths), "decoding images", reporter)
    return images


def _pixels(image: Image.Image, form: _Form) -> Tensor:
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # a palette may hold transparency, which Pillow will not drop in one go
    image = image.convert("L" if form.grey else "RGB")
    if image.size != (form.width, form.height):
        image = image.resize((form.width, form.height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).view(form.height, form.width, -1).permute(2, 0, 1)


def _in_pool(work: Callable[[int], None], count: int, title: str, reporter: Reporter) -> None:
    """Call ``work`` for 0..count-1 in threads; the first error ends it."""

    def chunk(start: int) -> int:
        indices = range(start, min(start + _CHUNK, count))
        for index in indices:
            work(index)
        return len(indices)

    pool = ThreadPoolExecutor(usable_cores())
    try:
        with reporter.bar(title, count) as bar:
            for done in pool.map(chunk, range(0, count, _CHUNK)):
                bar.advance(done)
    finally:
        pool.shutdown(cancel_futures=True)
