"""MNIST and Fashion-MNIST from idx files."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data import idx
from datadistill.data.base import RealData

READERS = {"MNIST/raw": idx.read_mnist, "mnist": idx.read_mnist, ".": idx.read_mnist}
READERS |= {"FashionMNIST/raw": idx.read_fashion_mnist, "fashion-mnist": idx.read_fashion_mnist}
Write = Callable[..., Path]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("folder", READERS)
def test_reads_every_layout(tmp_path: Path, write_idx: Write, folder: str, packed: bool) -> None:
    write_idx(tmp_path / folder, packed=packed)
    data: RealData = READERS[folder](tmp_path)
    assert data.train.images.shape == (20, 1, 28, 28)
    assert (
        data.train.images.flatten()[:99].tolist()
        == np.random.default_rng(20).integers(0, 256, (20, 28, 28), dtype=np.uint8).flatten()[:99].tolist()
    )
    assert data.test.labels.tolist() == list(range(10))
    assert data.card.split == "official: 20 training and 10 test images"
    assert list(data.card.constants)[:1] == ["dc"]


def test_classes_and_licence_of_fashion_mnist(tmp_path: Path, write_idx: Write) -> None:
    write_idx(tmp_path)
    card = idx.read_fashion_mnist(tmp_path).card
    assert (card.name, card.classes[0], card.classes[9], card.licence) == (
        "fashion-mnist",
        "T-shirt/top",
        "Ankle boot",
        "MIT",
    )


def test_missing_files_are_named_with_places_and_address(tmp_path: Path, write_idx: Write) -> None:
    folder = write_idx(tmp_path / "MNIST" / "raw")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataNotFoundError) as caught:
        idx.read_mnist(tmp_path)
    assert str(caught.value) == (
        f"mnist: missing t10k-labels-idx1-ubyte (plain or .gz); looked in {folder}, {tmp_path / 'mnist'}, {tmp_path}; "
        f"get them from {idx.MNIST_AT} and put them into {folder}"
    )


def test_the_other_set_is_noticed(tmp_path: Path, write_idx: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path)
    checksum = idx.read_mnist(tmp_path).card.checksum
    monkeypatch.setitem(idx._CHECKSUMS, "fashion-mnist", checksum)
    with pytest.raises(DataError, match=r"these are the files of fashion-mnist, not of mnist$"):
        idx.read_mnist(tmp_path)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (IMAGES, lambda b: b[:-1], "holds 15679 bytes after its header, which announces 15680; cut short or foreign"),
        (IMAGES, lambda b: b + b"x", "holds 15681 bytes after its header"),
        (IMAGES, lambda b: b[:9], "not an idx file of images or labels (wrong header)"),
        (IMAGES, lambda b: b"", "not an idx file of images or labels (wrong header)"),
        (IMAGES, lambda b: b"<html>" + b, "not an idx file of images or labels (wrong header)"),
        (IMAGES, lambda b: b[:3] + b"\x01\x00\x00\x00\x01\x07", "expected images of 28x28 pixels, found an array [1]"),
        (IMAGES, lambda b: b[:4] + b"\x00\x00\x00\x14\x00\x00\x00\x0e\x00\x00\x00\x38" + b[16:], "[20, 14, 56]"),
        (LABELS, lambda b: b[:4] + b"\x00\x00\x00\x05" + b[8:13], "expected 20 labels, found an array [5]"),
        (LABELS, lambda b: b[:-1] + b"\x0a", "label 10 is outside 0..9"),
    ],
)
def test_damaged_file_is_one_clear_line(
    tmp_path: Path, write_idx: Write, name: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = write_idx(tmp_path) / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: .*{re.escape(message)}"):
        idx.read_mnist(tmp_path)


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b"no gzip", lambda b: b[:200] + b"??" + b[202:]])
def test_damaged_gzip(tmp_path: Path, write_idx: Write, damage: Callable[[bytes], bytes]) -> None:
    path = write_idx(tmp_path, packed=True) / f"{IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: damaged or not a gzip file"):
        idx.read_mnist(tmp_path)


def test_the_plain_file_goes_before_the_gzipped_one(tmp_path: Path, write_idx: Write) -> None:
    write_idx(tmp_path)
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(b"nonsense"))
    assert len(idx.read_mnist(tmp_path).train) == 20
