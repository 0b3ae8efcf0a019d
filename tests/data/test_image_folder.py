"""Folders of pictures."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data.image_folder import read_image_folder
from datadistill.data.request import Request
from datadistill.runtime.progress import Bar, Silent

Write = Callable[..., Path]


@pytest.mark.parametrize("name", ["val", "test", "validation"])
def test_train_and_test_folders(tmp_path: Path, write_images: Write, noise: Any, name: str) -> None:
    write_images(tmp_path / "set" / "train", {"b": 3, "a": 2})
    write_images(tmp_path / "set" / name, {"a": 1, "b": 1}, first=7)
    data = read_image_folder(tmp_path / "set")
    assert (data.card.name, data.card.classes, data.card.shape) == ("set", ("a", "b"), (3, 4, 6))
    assert data.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert torch.equal(data.train.images[1], torch.from_numpy(noise(4, 6, 3, seed=101)).permute(2, 0, 1))
    assert torch.equal(data.test.images[0], torch.from_numpy(noise(4, 6, 3, seed=107)).permute(2, 0, 1))
    assert data.card.split == f"folders 'train' (5 images) and '{name}' (2) as test"
    assert "measured" in data.card.constants


def test_both_test_and_val(tmp_path: Path, write_images: Write) -> None:
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        write_images(tmp_path / part, {"a": count, "b": count})
    data = read_image_folder(tmp_path)
    assert len(data.test) == 2
    assert data.card.split == "folders 'train' (6 images) and 'test' (2) as test ('val' is not read)"


def test_one_folder_is_parted_the_same_way_every_time(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "set", {"a": 10, "b": 5})
    data = read_image_folder(tmp_path / "set")
    assert torch.bincount(data.test.labels).tolist() == [2, 1]
    assert data.card.split == "3 of 15 images (20%) as test, stratified by class, fixed"
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    assert read_image_folder(tmp_path / "copy").card.checksum == data.card.checksum


def test_grey_only_if_all_are(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, {"a": 5, "b": 5}, mode="L")
    assert read_image_folder(tmp_path).card.shape == (1, 4, 6)
    write_images(tmp_path, {"b": 1}, first=9)
    assert read_image_folder(tmp_path).card.shape == (3, 4, 6)


def test_every_8_bit_kind_is_read(tmp_path: Path, write_images: Write, noise: Any) -> None:
    write_images(tmp_path, {"a": 5, "b": 5})
    image = Image.fromarray(noise(4, 6, 3))
    for mode in ("1", "LA", "RGBA", "P"):
        image.convert("RGBA" if mode == "LA" else "RGB").convert(mode).save(tmp_path / "a" / f"{mode}.png")
    image.convert("P").save(tmp_path / "a" / "clear.png", transparency=bytes(range(256)))
    image.convert("CMYK").save(tmp_path / "a" / "cmyk.jpg")
    data = read_image_folder(tmp_path)
    assert len(data.train) + len(data.test) == 16


def test_other_sizes_are_resized_and_counted(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, {"a": 5, "b": 4})
    write_images(tmp_path, {"b": 2}, size=(12, 8), first=50)
    data = read_image_folder(tmp_path)
    assert data.card.shape == (3, 4, 6)
    assert data.card.source.endswith("; 2 of 11 images resized to 4x6 (squash)")


def test_other_files_are_left_alone(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"?")
    (tmp_path / "a" / "._000.png").write_bytes(b"?")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "labels.txt").write_text("?")
    data = read_image_folder(tmp_path)
    assert len(data.train) + len(data.test) == 10


@pytest.mark.parametrize("content", [b"", b"no image", "cut"])
def test_unreadable_image_is_named(tmp_path: Path, write_images: Write, content: bytes | str) -> None:
    write_images(tmp_path, {"a": 5, "b": 5}, size=(40, 40))
    path = tmp_path / "b" / "002.png"
    path.write_bytes(content if isinstance(content, bytes) else path.read_bytes()[:-400])
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: not a readable image"):
        read_image_folder(tmp_path)


def test_16_bit_is_refused(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, {"a": 5, "b": 5})
    path = tmp_path / "a" / "deep.png"
    Image.fromarray(np.full((4, 6), 999, np.uint16)).save(path)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: pixels of type 'I;16'; only 8-bit"):
        read_image_folder(tmp_path)


def test_wrong_layouts(tmp_path: Path, write_images: Write) -> None:
    where = re.escape(str(tmp_path))
    with pytest.raises(DataNotFoundError, match=r"no such folder$"):
        read_image_folder(tmp_path / "none")
    with pytest.raises(DataError, match=f"^{where}: contains no class folders$"):
        read_image_folder(tmp_path)
    write_images(tmp_path / "train", {"a": 2, "b": 2})
    with pytest.raises(DataError, match=f"^{where}: has a folder 'train' but no folder test, val or validation$"):
        read_image_folder(tmp_path)
    write_images(tmp_path / "val", {"a": 1, "c": 1})
    with pytest.raises(DataError, match=r"val: class 'c' has no folder in .*train$"):
        read_image_folder(tmp_path)
    shutil.rmtree(tmp_path / "val" / "c")
    (tmp_path / "val" / "b").mkdir()
    with pytest.raises(DataError, match=r"b: class without images$"):
        read_image_folder(tmp_path)
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(DataError, match=f"^{where}: has a folder 'val' but no folder train$"):
        read_image_folder(tmp_path)


def test_progress_is_shown(tmp_path: Path, write_images: Write) -> None:
    seen: list[object] = []

    class Counting(Silent):
        @contextmanager
        def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
            class One:
                def advance(self, steps: int = 1, note: str = "") -> None:
                    seen.append(steps)

            seen.append((title, total))
            yield One()

    write_images(tmp_path, {"a": 40, "b": 30})
    read_image_folder(tmp_path, Request(reporter=Counting()))
    assert seen == [("reading headers", 70), 64, 6, ("decoding images", 70), 64, 6]
