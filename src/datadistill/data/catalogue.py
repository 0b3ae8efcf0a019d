"""The registry of data sets, and the one function that reads any of them."""

import os
from pathlib import Path

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.core.registry import find
from datadistill.data.base import DatasetEntry, RealData
from datadistill.data.cifar import CIFAR10_ARCHIVE, CIFAR100_ARCHIVE, read_cifar10, read_cifar100
from datadistill.data.digits import read_digits
from datadistill.data.download import fetch
from datadistill.data.idx import FASHION_AT, MNIST_AT, read_fashion_mnist, read_mnist, remote_files
from datadistill.data.image_folder import read_image_folder
from datadistill.data.npz import read_npz
from datadistill.data.split import hold_out
from datadistill.runtime.progress import Reporter, Silent

DATASETS: dict[str, DatasetEntry] = {
    "digits": DatasetEntry(
        read_digits,
        "1,437 + 360 handwritten digits, 8x8 grey, 10 classes; comes with scikit-learn",
        "nothing",
    ),
    "mnist": DatasetEntry(
        read_mnist,
        "60,000 + 10,000 handwritten digits, 28x28 grey, 10 classes",
        "MNIST/raw/, mnist/ or . with {train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or .gz",
        remote_files(
            "MNIST/raw",
            MNIST_AT,
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
    ),
    "fashion-mnist": DatasetEntry(
        read_fashion_mnist,
        "60,000 + 10,000 articles of clothing, 28x28 grey, 10 classes",
        "FashionMNIST/raw/, fashion-mnist/ or . with the same file names as MNIST, plain or .gz",
        remote_files(
            "FashionMNIST/raw",
            FASHION_AT,
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
    ),
    "cifar10": DatasetEntry(
        read_cifar10,
        "50,000 + 10,000 photographs, 32x32 colour, 10 classes",
        "cifar-10-batches-py/ (python pickles) or cifar-10-python.tar.gz",
        (CIFAR10_ARCHIVE,),
    ),
    "cifar100": DatasetEntry(
        read_cifar100,
        "50,000 + 10,000 photographs, 32x32 colour, 100 classes",
        "cifar-100-python/ (python pickles) or cifar-100-python.tar.gz",
        (CIFAR100_ARCHIVE,),
    ),
}
"""Data sets by name."""

ALIASES: dict[str, str] = {
    "MNIST": "mnist",
    "FashionMNIST": "fashion-mnist",
    "CIFAR10": "cifar10",
    "CIFAR100": "cifar100",
}
"""How the systems of the field spell them."""


def default_data_root() -> Path:
    """Return where data sets are looked for when nobody says: ``$DATADISTILL_DATA``, or ``data`` here."""
    return Path(os.environ.get("DATADISTILL_DATA", "data"))


def load_dataset(
    name: str,
    root: Path,
    *,
    validation: int,
    download: bool = True,
    reporter: Reporter = Silent(),  # noqa: B008 (has no state)
) -> RealData:
    """Return a data set by its name or its path, with a validation split held out of its training set.

    Args:
        name: A name in :data:`DATASETS` or :data:`ALIASES`; or the path of an image folder or an ``.npz``
            file, relative to the current folder or to ``root``. A registered name goes before a path.
        root: Data root, below which the files of a named data set are looked for.
        validation: Training images to hold out, stratified and the same every time; 0 for none.
        download: Whether to fetch the files of a named data set that are not there.
        reporter: Where the progress is shown.

    Raises:
        UnknownNameError: If there is no such data set; names the nearest.
        DataNotFoundError: If files are missing and cannot be fetched; says which, where they were looked for,
            and where to get and put them.
        DataError: If a file is damaged or foreign, or ``validation`` is too large.
    """
    key = ALIASES.get(name, name)
    if key not in DATASETS and _is_path(name, root):
        data = _read_path(name, root, reporter)
    else:
        data = _read_named(find(DATASETS, key, "data set"), root, download, reporter)
    return hold_out(data, validation)


def _read_named(entry: DatasetEntry, root: Path, download: bool, reporter: Reporter) -> RealData:
    try:
        return entry.read(root)
    except DataNotFoundError as missing:
        if not (download and entry.remote):
            raise
        try:
            fetch(entry.remote, root, reporter)
        except DataNotFoundError as failed:
            raise DataNotFoundError(f"{missing}; {failed}") from failed
    return entry.read(root)


def _is_path(name: str, root: Path) -> bool:
    return name.endswith(".npz") or "/" in name or os.sep in name or bool(_places(name, root))


def _places(name: str, root: Path) -> list[Path]:
    path = Path(name).expanduser()
    return [place for place in (path, root / path) if place.exists()]


def _read_path(name: str, root: Path, reporter: Reporter) -> RealData:
    there = _places(name, root)
    if not there:
        raise DataNotFoundError(f"{name}: no such file or folder, neither from here nor below {root}")
    if there[0].is_dir():
        return read_image_folder(there[0], reporter)
    if there[0].suffix != ".npz":
        raise DataError(f"{there[0]}: neither an .npz file nor a folder of images")
    return read_npz(there[0])
