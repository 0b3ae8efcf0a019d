"""CIFAR-10 and CIFAR-100 from pickles and archives."""

import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data.cifar import CIFAR10_ARCHIVE, read_cifar10, read_cifar100

Write = Callable[..., Path]


@pytest.mark.parametrize("protocol", ["python2", 2, 4, 5])
def test_reads_pickles_of_every_age(tmp_path: Path, write_cifar: Write, noise: Any, protocol: int | str) -> None:
    write_cifar(tmp_path, protocol=protocol)
    data = read_cifar10(tmp_path)
    assert (data.train.images.shape, data.test.images.shape) == ((50, 3, 32, 32), (10, 3, 32, 32))
    assert torch.equal(data.train.images[10:20].flatten(1), torch.from_numpy(noise(10, 3072, seed=1)))
    assert torch.equal(data.test.images.flatten(1), torch.from_numpy(noise(10, 3072, seed=5)))
    assert data.train.labels.tolist() == [*range(10)] * 5
    assert data.card.classes[3] == "class 3"
    assert list(data.card.constants) == ["mtt", "dc", "apm", "dd-2018"]


@pytest.mark.parametrize("protocol", ["python2", 4])
def test_cifar100_has_fine_labels(tmp_path: Path, write_cifar: Write, protocol: int | str) -> None:
    write_cifar(tmp_path, classes=100, protocol=protocol)
    data = read_cifar100(tmp_path)
    assert (data.classes, data.test.labels.tolist()) == (100, list(range(100)))
    assert list(data.card.constants) == ["dc", "mtt", "apm"]


def test_the_folder_itself_may_be_the_root(tmp_path: Path, write_cifar: Write) -> None:
    assert len(read_cifar10(write_cifar(tmp_path)).train) == 50


def pack(folder: Path, archive: Path, leave_out: str = "") -> None:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name, filter=lambda member: None if member.name.endswith(leave_out or "/") else member)


def test_reads_the_archive_without_unpacking_it(tmp_path: Path, write_cifar: Write) -> None:
    folder = write_cifar(tmp_path / "elsewhere")
    pack(folder, tmp_path / CIFAR10_ARCHIVE.path)
    assert read_cifar10(tmp_path).card == read_cifar10(tmp_path / "elsewhere").card
    assert sorted(path.name for path in tmp_path.iterdir()) == [CIFAR10_ARCHIVE.path, "elsewhere"]


def test_damaged_and_incomplete_archives(tmp_path: Path, write_cifar: Write) -> None:
    folder, archive = write_cifar(tmp_path / "elsewhere"), tmp_path / CIFAR10_ARCHIVE.path
    pack(folder, archive, leave_out="test_batch")
    where = re.escape(str(archive))
    with pytest.raises(DataError, match=f"^{where}: contains no cifar-10-batches-py/test_batch$"):
        read_cifar10(tmp_path)
    for content in (archive.read_bytes()[:-2000], b"<html>not found</html>"):
        archive.write_bytes(content)
        with pytest.raises(DataError, match=f"^{where}: damaged or not a .tar.gz file"):
            read_cifar10(tmp_path)


def test_missing_files_are_named(tmp_path: Path, write_cifar: Write) -> None:
    folder = write_cifar(tmp_path)
    (folder / "data_batch_3").unlink()
    message = (
        f"cifar10: missing data_batch_3; looked in {folder}, {tmp_path} and for {tmp_path / CIFAR10_ARCHIVE.path}; "
        f"get {CIFAR10_ARCHIVE.addresses[0]} and put it, or what it contains, into {tmp_path}"
    )
    with pytest.raises(DataNotFoundError, match=f"^{re.escape(message)}$"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_2", {"data": [1], "labels": [0]}, "no array 'data' with rows of 3072 bytes"),
        ("data_batch_2", {"labels": [0]}, "no array 'data'"),
        ("data_batch_2", {"data": "pixels", "labels": "0"}, "no list of whole numbers 'labels'"),
        ("data_batch_2", {"data": "pixels", "labels": [0, 1]}, "10 images but labels of shape [2]"),
        ("data_batch_2", {"data": "pixels", "labels": [11] * 10}, "label 11 is outside 0..9"),
        ("batches.meta", {"names": []}, "no list 'label_names'"),
    ],
)
def test_wrong_content_names_the_file(
    tmp_path: Path, write_cifar: Write, noise: Any, name: str, content: dict[str, Any], message: str
) -> None:
    import pickle

    folder = write_cifar(tmp_path)
    if content.get("data") == "pixels":
        content = {**content, "data": noise(10, 3072)}
    (folder / name).write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=f"^{re.escape(str(folder / name))}: .*{re.escape(message)}"):
        read_cifar10(tmp_path)


def test_truncated_batch(tmp_path: Path, write_cifar: Write) -> None:
    path = write_cifar(tmp_path) / "data_batch_4"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: damaged, or not a pickle of arrays"):
        read_cifar10(tmp_path)
