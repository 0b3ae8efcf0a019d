"""Data sets in memory, and in ``.npz`` files."""

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datadistill.core.errors import DataError, DataNotFoundError, nearest
from datadistill.data.assemble import assemble, make_split
from datadistill.data.base import RealData
from datadistill.data.split import TEST_SHARE, part_test

Array = NDArray[Any] | Tensor
"""A numpy array or a tensor."""

_KEYS = ("x_train", "y_train", "x_test", "y_test")


def from_arrays(
    x_train: Array,
    y_train: Array,
    x_test: Array,
    y_test: Array,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    *,
    source: str = "arrays in memory",
    split: str | None = None,
) -> RealData:
    """Return a data set made of arrays; the pixels are copied.

    Args:
        x_train: Training images, ``[n h w]``, ``[n h w c]`` or ``[n c h w]``; uint8, or floats in [0, 1] (rounded to
            bytes). Of the second and the last size the one that is 1 or 3 counts channels, else the smaller one;
            where both would do, channels come first.
        y_train: Training labels, whole numbers 0..k-1, ``[n]`` or ``[n 1]``.
        x_test: Test images.
        y_test: Test labels.
        classes: Class names; by default the labels as words, as many as the largest label says.
        name: Name on the card and in messages.
        source: Where the data come from, in words.
        split: How train and test were separated, in words; by default that they were given so.

    Raises:
        DataError: If a shape, dtype, value or label is wrong, lengths differ, or a class has no training
            image; the message names the array.
    """
    images = {key: as_images(x, f"{name}: {key}") for key, x in (("x_train", x_train), ("x_test", x_test))}
    labels = {key: _labels(y, f"{name}: {key}") for key, y in (("y_train", y_train), ("y_test", y_test))}
    known = _class_names(classes, labels.values(), name)
    train, test = (
        make_split(images[f"x_{part}"], labels[f"y_{part}"], len(known), f"{name}: x_{part}, y_{part}")
        for part in ("train", "test")
    )
    return assemble(
        train,
        test,
        name=name,
        classes=known,
        source=source,
        licence="not stated",
        split=split or f"as given: {len(train)} training and {len(test)} test images",
    )


def read_npz(path: Path) -> RealData:
    """Return the data set in an ``.npz`` file.

    It holds ``x_train``, ``y_train``, ``x_test``, ``y_test``, or ``images`` and ``labels``, of which a fifth
    becomes the test split, stratified and the same every time; optionally ``classes``, the names.

    Raises:
        DataNotFoundError: If there is no such file.
        DataError: If it is no such archive, lacks an array, or an array is wrong (see :func:`from_arrays`);
            names the file and the array.
    """
    arrays = _load(path)
    classes = [_name(entry) for entry in arrays.pop("classes").flatten()] if "classes" in arrays else None
    words = None
    if "x_train" not in arrays and ("images" in arrays or "labels" in arrays):
        arrays, words = _parted(arrays, path)
    for key in _KEYS:
        _require(arrays, key, path)
    try:
        x_train, y_train, x_test, y_test = (arrays[key] for key in _KEYS)
        return from_arrays(x_train, y_train, x_test, y_test, classes, path.stem, source=f"file {path}", split=words)
    except DataError as error:
        raise DataError(f"{path}: {str(error).removeprefix(f'{path.stem}: ')}") from error


def _load(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise DataNotFoundError(f"{path}: no such file")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (
        OSError,
        ValueError,
        EOFError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DataError(f"{path}: not a whole .npz file of plain arrays ({error})") from error


def _require(arrays: dict[str, NDArray[Any]], key: str, path: Path) -> NDArray[Any]:
    if key not in arrays:
        raise DataError(f"{path}: no array '{key}'{nearest(key, arrays)}")
    return arrays[key]


def _parted(arrays: dict[str, NDArray[Any]], path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    images, labels = (
        _require(arrays, "images", path),
        _labels(_require(arrays, "labels", path), f"{path}: labels"),
    )
    if len(images) != len(labels):
        raise DataError(f"{path}: {len(images)} images but {len(labels)} labels")
    _class_names(None, [labels], str(path))
    train, test = (rows.numpy() for rows in part_test(labels, str(path)))
    values = (images[train], labels.numpy()[train], images[test], labels.numpy()[test])
    words = f"{len(test)} of {len(labels)} images ({TEST_SHARE:.0%}) as test, stratified by class, fixed"
    return dict(zip(_KEYS, values, strict=True)), words


def as_images(array: Array, where: str) -> Tensor:
    """Return an array of images as bytes ``[n c h w]``; the pixels are copied.

    Raises:
        DataError: If shape, dtype or a value is wrong.
    """
    images = _tensor(array, where)
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and _channels_last(images.shape[1], images.shape[3]):
        images = images.permute(0, 3, 1, 2)
    if images.ndim != 4:
        raise DataError(f"{where}: shape {[*images.shape]} is not [n h w], [n h w c] or [n c h w]")
    if images.is_floating_point():
        images = _from_floats(images, where)
    if images.dtype != torch.uint8:
        raise DataError(f"{where}: dtype {_dtype(images)}; expected uint8, or floats in [0, 1]")
    return images


def _channels_last(second: int, last: int) -> bool:
    usual = (1, 3)
    if last in usual or second in usual:
        return second not in usual
    return last < second


def _from_floats(images: Tensor, where: str) -> Tensor:
    if not images.isfinite().all():
        raise DataError(f"{where}: contains NaN or infinity")
    if images.numel() and (images.min() < 0 or images.max() > 1):
        raise DataError(f"{where}: floats must lie in [0, 1], found {images.min():g} to {images.max():g}")
    return images.mul(255).round_().to(torch.uint8)


def _labels(array: Array, where: str) -> Tensor:
    labels = _tensor(array, where)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(f"{where}: dtype {_dtype(labels)}; labels must be whole numbers")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{where}: shape {[*labels.shape]}; expected one label per image, [n]")
    return labels.long()


def _tensor(array: Array, where: str) -> Tensor:
    if isinstance(array, Tensor):
        return array.detach().cpu().clone()
    try:
        return torch.tensor(array.astype(array.dtype.newbyteorder("=")))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: dtype {array.dtype} is not numeric") from error


def _class_names(classes: Sequence[str] | None, labels: Iterable[Tensor], name: str) -> tuple[str, ...]:
    if classes is None:
        together = torch.cat([*labels, torch.zeros(1, dtype=torch.int64)])
        low, most = int(together.min()), int(together.max())
        if low < 0 or most >= len(together):  # before memory is spent on a class per number
            wrong = low if low < 0 else most
            raise DataError(f"{name}: label {wrong} among {len(together) - 1}; expected 0..k-1, each in use")
        return tuple(str(label) for label in range(most + 1))
    names = tuple(str(entry) for entry in classes)
    if not names or len(set(names)) < len(names):
        raise DataError(f"{name}: classes: {len(names)} names, {len(set(names))} of them different")
    return names


def _name(entry: object) -> str:
    return entry.decode() if isinstance(entry, bytes) else str(entry)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
