"""MNIST and Fashion-MNIST from their idx files, plain or gzipped."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data.assemble import assemble, make_split
from datadistill.data.base import RealData, RemoteFile, Split
from datadistill.data.constants import CONSTANTS

_IMAGES = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
_LABELS = ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte")
_SIZE = (28, 28)
_UNSIGNED_BYTE = 8

MNIST_AT = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_AT = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

_FOLDERS = {
    "mnist": ("MNIST/raw", "mnist", "."),
    "fashion-mnist": ("FashionMNIST/raw", "fashion-mnist", "."),
}
_ADDRESSES = {"mnist": MNIST_AT, "fashion-mnist": FASHION_AT}
_CHECKSUMS = {
    "mnist": "6e970985fcd732d3c56bff8436bd4d0d",
    "fashion-mnist": "a3c342adc5a99fb156dbdf7c47c3703d",
}
"""Of the official data; both sets have the same file names, so one is easily put where the other belongs."""


def read_mnist(root: Path) -> RealData:
    """Return MNIST from ``root/MNIST/raw``, ``root/mnist`` or ``root``.

    Raises:
        DataNotFoundError: If a file is missing.
        DataError: If a file is damaged or foreign.
    """
    return _read(
        root,
        name="mnist",
        classes=tuple(str(digit) for digit in range(10)),
        licence="CC BY-SA 3.0 as commonly given; none stated in the files",
    )


def read_fashion_mnist(root: Path) -> RealData:
    """Return Fashion-MNIST from ``root/FashionMNIST/raw``, ``root/fashion-mnist`` or ``root``.

    Raises:
        DataNotFoundError: If a file is missing.
        DataError: If a file is damaged or foreign.
    """
    names = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    return _read(root, name="fashion-mnist", classes=tuple(names.split(",")), licence="MIT")


def find_idx(name: str, root: Path) -> Path:
    """Return the folder that holds the four files of ``mnist`` or ``fashion-mnist``.

    Raises:
        DataNotFoundError: If one is missing.
    """
    return _locate(root, name)[_IMAGES[0]].parent


def remote_files(folder: str, address: str, md5: tuple[str, str, str, str]) -> tuple[RemoteFile, ...]:
    """Return the four official files: training images and labels, test images and labels."""
    names = (_IMAGES[0], _LABELS[0], _IMAGES[1], _LABELS[1])
    return tuple(
        RemoteFile(f"{folder}/{name}.gz", (f"{address}{name}.gz",), digest)
        for name, digest in zip(names, md5, strict=True)
    )


def read_idx(path: Path) -> Tensor:
    """Return the array in an idx file of unsigned bytes, gzipped if the name ends in ``.gz``.

    Raises:
        DataError: If it cannot be read, is no such file, or is shorter or longer than its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or not a gzip file ({error})") from error
    dimensions = content[3] if len(content) >= 4 else 0
    start = 4 + 4 * dimensions
    if content[:3] != bytes((0, 0, _UNSIGNED_BYTE)) or dimensions not in (1, 3) or len(content) < start:
        raise DataError(f"{path}: not an idx file of images or labels (wrong header)")
    shape = [int(size) for size in np.frombuffer(content, ">u4", dimensions, 4)]
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{path}: holds {len(content) - start} bytes after its header, which announces "
            f"{math.prod(shape)}; cut short or foreign"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())


def _read(
    root: Path,
    *,
    name: str,
    classes: tuple[str, ...],
    licence: str,
) -> RealData:
    paths = _locate(root, name)
    train, test = (
        _split(paths[images], paths[labels], len(classes)) for images, labels in zip(_IMAGES, _LABELS, strict=True)
    )
    data = assemble(
        train,
        test,
        name=name,
        classes=classes,
        source=_ADDRESSES[name],
        licence=licence,
        split=f"official: {len(train)} training and {len(test)} test images",
        constants=CONSTANTS[name],
    )
    other = next((key for key, value in _CHECKSUMS.items() if value == data.card.checksum), name)
    if other != name:
        raise DataError(f"{paths[_IMAGES[0]].parent}: these are the files of {other}, not of {name}")
    return data


def _locate(root: Path, name: str) -> dict[str, Path]:
    folders = [root / folder for folder in _FOLDERS[name]]
    wanted = (*_IMAGES, *_LABELS)
    found = [
        {f: path for f in wanted for path in (folder / f"{f}.gz", folder / f) if path.is_file()} for folder in folders
    ]  # the plain file comes second and wins: it needs no unpacking
    best = max(found, key=len)
    if len(best) == len(wanted):
        return best
    missing = ", ".join(f for f in wanted if f not in best)
    places = ", ".join(map(str, folders))
    raise DataNotFoundError(
        f"{name}: missing {missing} (plain or .gz); looked in {places}; "
        f"get them from {_ADDRESSES[name]} and put them into {folders[0]}"
    )


def _split(images: Path, labels: Path, classes: int) -> Split:
    pixels, targets = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or tuple(pixels.shape[1:]) != _SIZE:
        raise DataError(f"{images}: expected images of 28x28 pixels, found an array {[*pixels.shape]}")
    if targets.ndim != 1 or len(targets) != len(pixels):
        raise DataError(f"{labels}: expected {len(pixels)} labels, found an array {[*targets.shape]}")
    return make_split(pixels[:, None], targets.long(), classes, str(labels))
