"""CIFAR-10 and CIFAR-100 from the official python pickles, in their folder or in the official archive.

They are read by :mod:`datadistill.data.pickles`, which runs nothing of what they contain.
"""

import math
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data.assemble import assemble, make_split
from datadistill.data.base import RealData, RemoteFile, Split
from datadistill.data.constants import CONSTANTS
from datadistill.data.pickles import read_pickle, text

CIFAR_AT = "https://www.cs.toronto.edu/~kriz/"
_SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class _Kind:
    """Where one of the two sets lies and what its keys are called."""

    name: str
    folder: str
    archive: RemoteFile
    train: tuple[str, ...]
    test: str
    meta: str
    names: str
    labels: str


_CIFAR10 = _Kind(
    name="cifar10",
    folder="cifar-10-batches-py",
    archive=RemoteFile(
        "cifar-10-python.tar.gz", (f"{CIFAR_AT}cifar-10-python.tar.gz",), "c58f30108f718f92721af3b95e74349a"
    ),
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    names="label_names",
    labels="labels",
)
_CIFAR100 = _Kind(
    name="cifar100",
    folder="cifar-100-python",
    archive=RemoteFile(
        "cifar-100-python.tar.gz", (f"{CIFAR_AT}cifar-100-python.tar.gz",), "eb9058c3a382ffc7106e4002c42a8d85"
    ),
    train=("train",),
    test="test",
    meta="meta",
    names="fine_label_names",
    labels="fine_labels",
)
CIFAR10_ARCHIVE, CIFAR100_ARCHIVE = _CIFAR10.archive, _CIFAR100.archive


def read_cifar10(root: Path) -> RealData:
    """Return CIFAR-10 from ``root/cifar-10-batches-py``, ``root`` or ``root/cifar-10-python.tar.gz``.

    Raises:
        DataNotFoundError: If a file is missing.
        DataError: If a file is damaged, foreign, or a pickle that asks for anything but arrays.
    """
    return _read(root, _CIFAR10)


def read_cifar100(root: Path) -> RealData:
    """Return CIFAR-100, fine labels, from ``root/cifar-100-python``, ``root`` or the archive beside it.

    Raises:
        DataNotFoundError: If a file is missing.
        DataError: If a file is damaged, foreign, or a pickle that asks for anything but arrays.
    """
    return _read(root, _CIFAR100)


def find_cifar(root: Path, classes: int) -> Path:
    """Return the folder or the archive that is read, of CIFAR-10 or of CIFAR-100.

    Raises:
        DataNotFoundError: If a file is missing.
    """
    return _place(root, _CIFAR10 if classes == 10 else _CIFAR100)


def _read(root: Path, kind: _Kind) -> RealData:
    contents, place = _contents(root, kind)
    meta = read_pickle(contents.pop(kind.meta), f"{place / kind.meta}")
    if not isinstance(meta.get(kind.names), list):
        raise DataError(f"{place / kind.meta}: not a CIFAR file (no list '{kind.names}')")
    classes = tuple(text(name) for name in meta[kind.names])
    batches = {
        file: _batch(contents.pop(file), f"{place / file}", kind.labels, len(classes))
        for file in (*kind.train, kind.test)
    }
    parts = [batches[file] for file in kind.train]
    train = Split(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
    test = batches[kind.test]
    return assemble(
        train,
        test,
        name=kind.name,
        classes=classes,
        source=f"{CIFAR_AT}cifar.html (Krizhevsky 2009)",
        licence="none stated by its authors",
        split=f"official: {len(train)} training and {len(test)} test images",
        constants=CONSTANTS[kind.name],
    )


def _batch(content: bytes, where: str, key: str, classes: int) -> Split:
    batch = read_pickle(content, where)
    data, labels = batch.get("data"), batch.get(key)
    if not isinstance(data, Tensor) or data.ndim != 2 or data.shape[1] != math.prod(_SHAPE):
        raise DataError(f"{where}: not a CIFAR file (no array 'data' with rows of {math.prod(_SHAPE)} bytes)")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{where}: not a CIFAR file (no list of whole numbers '{key}')")
    if wrong := [label for label in labels if not 0 <= label < classes]:
        raise DataError(f"{where}: label {wrong[0]} is outside 0..{classes - 1}")
    return make_split(data.view(-1, *_SHAPE), torch.tensor(labels, dtype=torch.int64), classes, where)


def _contents(root: Path, kind: _Kind) -> tuple[dict[str, bytes], Path]:
    """Return the bytes of every file by name, and where they were found."""
    place, files = _place(root, kind), (*kind.train, kind.test, kind.meta)
    if place.is_dir():
        return {file: _bytes(place / file) for file in files}, place
    return _unpack(place, [f"{kind.folder}/{file}" for file in files]), place


def _place(root: Path, kind: _Kind) -> Path:
    """Return the folder with all files, or the archive."""
    folders, archive = [root / kind.folder, root], root / kind.archive.path
    files = (*kind.train, kind.test, kind.meta)
    found = max(folders, key=lambda folder: sum((folder / file).is_file() for file in files))
    missing = [file for file in files if not (found / file).is_file()]
    if not missing:
        return found
    if archive.is_file():
        return archive
    raise DataNotFoundError(
        f"{kind.name}: missing {', '.join(missing)}; looked in {', '.join(map(str, folders))} "
        f"and for {archive}; get {kind.archive.addresses[0]} and put it, or what it contains, into {root}"
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _unpack(archive: Path, members: list[str]) -> dict[str, bytes]:
    """Read the wanted files of an archive in memory: nothing is written, no path in it matters."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                if member.name in members and member.isfile() and (stream := tar.extractfile(member)):
                    contents[Path(member.name).name] = stream.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: damaged or not a .tar.gz file ({error})") from error
    if missing := [member for member in members if Path(member).name not in contents]:
        raise DataError(f"{archive}: contains no {', '.join(missing)}")
    return contents
