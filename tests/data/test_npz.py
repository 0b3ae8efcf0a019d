"""Arrays in memory and in .npz files."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data.npz import from_arrays, read_npz

LABELS = np.arange(10) % 2
BYTES = np.random.default_rng(0).integers(0, 256, (10, 4, 5, 3), dtype=np.uint8)


def arrays(**other: Any) -> dict[str, Any]:
    return {"x_train": BYTES, "y_train": LABELS, "x_test": BYTES[:4], "y_test": LABELS[:4], **other}


@pytest.mark.parametrize("classes", [None, ["cat", "dog"]])
def test_round_trip_through_a_file(tmp_path: Path, classes: list[str] | None) -> None:
    given = arrays() if classes is None else arrays(classes=np.array(classes))
    np.savez_compressed(tmp_path / "tiny.npz", **given)
    read, made = read_npz(tmp_path / "tiny.npz"), from_arrays(**arrays(classes=classes))
    assert read.card.checksum == made.card.checksum
    assert read.card.classes == made.card.classes == tuple(classes or ("0", "1"))
    assert (read.card.name, made.card.name) == ("tiny", "arrays")
    assert read.card.source == f"file {tmp_path / 'tiny.npz'}"
    assert read.card.split == "as given: 10 training and 4 test images"
    assert torch.equal(made.train.images, torch.from_numpy(BYTES).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (BYTES, (3, 4, 5)),
        (BYTES[..., :1], (1, 4, 5)),
        (BYTES[..., 0], (1, 4, 5)),
        (BYTES.transpose(0, 3, 1, 2), (3, 4, 5)),
        (torch.from_numpy(BYTES.transpose(0, 3, 1, 2)), (3, 4, 5)),
        (BYTES[..., :2], (2, 4, 5)),
        (BYTES.transpose(0, 3, 1, 2)[:, :2], (2, 4, 5)),
        (np.tile(BYTES, (1, 2, 1, 2))[..., :4], (4, 8, 5)),
        (BYTES / 255, (3, 4, 5)),
        ((BYTES / 255).astype(np.float32), (3, 4, 5)),
        ((BYTES / 255).astype(">f4"), (3, 4, 5)),
    ],
)
def test_layouts_and_dtypes(images: Any, shape: tuple[int, int, int]) -> None:
    data = from_arrays(**arrays(x_train=images, x_test=images[:4]))
    assert data.card.shape == shape
    assert data.train.images[3, 0, 2, 1] == BYTES[3, 2, 1, 0]


def test_tensors_are_copied_and_labels_of_any_integer_kind() -> None:
    pixels = torch.from_numpy(BYTES.transpose(0, 3, 1, 2).copy())
    data = from_arrays(**arrays(x_train=pixels, y_train=LABELS[:, None].astype(np.uint8), y_test=torch.tensor([0] * 4)))
    checksum = int(data.train.images.sum())
    pixels.zero_()
    assert int(data.train.images.sum()) == checksum
    assert data.train.labels.tolist() == LABELS.tolist()


def test_images_and_labels_are_parted(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", images=BYTES, labels=LABELS)
    data = read_npz(tmp_path / "one.npz")
    assert torch.bincount(data.test.labels).tolist() == [1, 1]
    assert data.card.split == "2 of 10 images (20%) as test, stratified by class, fixed"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"x_train": BYTES[:, :, :, :2]}, "training images are [2, 4, 5], test images [3, 4, 5]"),
        ({"x_test": BYTES[:4, 0, 0]}, "x_test: shape [4, 3] is not"),
        ({"x_train": BYTES.astype(np.int32)}, "x_train: dtype int32; expected uint8, or floats in [0, 1]"),
        ({"x_train": BYTES > 3}, "x_train: dtype bool; expected uint8"),
        ({"x_train": BYTES * 1.0}, "x_train: floats must lie in [0, 1], found 0 to 255"),
        ({"x_train": np.where(BYTES > 250, np.nan, 0.5)}, "x_train: contains NaN or infinity"),
        ({"y_train": LABELS[:9]}, "x_train, y_train: 10 images but labels of shape [9]"),
        ({"y_train": LABELS * 1.0}, "y_train: dtype float64; labels must be whole numbers"),
        ({"y_train": np.eye(10, dtype=int)}, "y_train: shape [10, 10]; expected one label per image, [n]"),
        ({"y_train": LABELS.astype(str)}, "y_train: dtype <U21 is not numeric"),
        ({"y_train": LABELS - 1}, "label -1 among 14; expected 0..k-1, each in use"),
        ({"y_test": LABELS[:4] + 10**9}, "label 1000000001 among 14"),
        ({"y_test": LABELS[:4] + 2}, "class 2 ('2') has no training image"),
        ({"x_test": BYTES[:4, :, :4]}, "training images are [3, 4, 5], test images [3, 4, 4]"),
        ({"x_train": BYTES[:0], "y_train": LABELS[:0]}, "x_train, y_train: no images"),
        ({"classes": np.array(["a"])}, "x_train, y_train: label 1 is outside 0..0 (1 classes)"),
        ({"classes": np.array(["a", "b", "c"])}, "class 2 ('c') has no training image"),
        ({"classes": np.array(["a", "a"])}, "classes: 2 names, 1 of them different"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    classes = {"classes": other["classes"].tolist()} if "classes" in other else {}
    with pytest.raises(DataError, match=f"^arrays: {re.escape(message)}"):
        from_arrays(**arrays(**{**other, **classes}))
    path = tmp_path / "tiny.npz"
    np.savez(path, **arrays(**other))
    with pytest.raises(DataError, match=f"^{re.escape(f'{path}: {message}')}"):
        read_npz(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_train": BYTES, "y_train": LABELS}, "no array 'x_train'; did you mean 'X_train'?"),
        ({"x_train": BYTES, "y_train": LABELS, "x_test": BYTES, "ytest": LABELS}, "did you mean 'ytest'?"),
        ({}, "no array 'x_train'"),
        ({"images": BYTES, "label": LABELS}, "no array 'labels'; did you mean 'label'?"),
        ({"images": BYTES, "labels": LABELS[:3]}, "10 images but 3 labels"),
        ({"images": BYTES, "labels": LABELS - 1}, "label -1 among 10"),
        ({"images": BYTES[:2], "labels": LABELS[:2]}, "no room for a test split"),
        ({"x_train": np.array([None])}, "not a whole .npz file of plain arrays (Object arrays cannot be loaded"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **given)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: .*{re.escape(message)}"):
        read_npz(path)


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    with pytest.raises(DataNotFoundError, match=r"set.npz: no such file$"):
        read_npz(path)
    np.savez(path, **arrays())
    whole = path.read_bytes()
    np.save(tmp_path / "one.npy", BYTES)
    for content in (
        whole[:-30],
        b"",
        b"text",
        whole[:300] + b"?" * 9 + whole[309:],
        (tmp_path / "one.npy").read_bytes(),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"^{re.escape(str(path))}: not a whole .npz file of plain arrays"):
            read_npz(path)
