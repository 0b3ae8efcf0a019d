"""SVHN, cropped digits, from the official MATLAB files. The digit 0, there labelled 10, gets the label 0."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data.assemble import assemble, make_split
from datadistill.data.base import RealData, RemoteFile, Split
from datadistill.data.constants import CONSTANTS

SVHN_AT = "http://ufldl.stanford.edu/housenumbers/"
_FILES = ("train_32x32.mat", "test_32x32.mat")
_FOLDERS = ("SVHN", "svhn", ".")

SVHN_FILES = tuple(
    RemoteFile(f"SVHN/{name}", (f"{SVHN_AT}{name}",), md5)
    for name, md5 in zip(_FILES, ("e26dedcc434d2e4c54c9b2d4a06d8373", "eb5a983be6a315427106f1b164d9cef3"), strict=True)
)


def find_svhn(root: Path) -> Path:
    """Return the folder that holds the two files: ``root/SVHN``, ``root/svhn`` or ``root``.

    Raises:
        DataNotFoundError: If one is missing.
    """
    places = [root / name for name in _FOLDERS]
    for folder in places:
        if all((folder / name).is_file() for name in _FILES):
            return folder
    looked = ", ".join(map(str, places))
    raise DataNotFoundError(
        f"svhn: missing {' or '.join(_FILES)}; looked in {looked}; "
        f"get them from {SVHN_AT} and put them into {places[0]}"
    )


def read_svhn(root: Path) -> RealData:
    """Return SVHN; the 531,131 ``extra`` images are not read.

    Raises:
        DataNotFoundError: If a file is missing.
        DataError: If a file is damaged or foreign.
    """
    folder = find_svhn(root)
    train, test = (_split(folder / name) for name in _FILES)
    return assemble(
        train,
        test,
        name="svhn",
        classes=tuple(str(digit) for digit in range(10)),
        source=f"{SVHN_AT} (Netzer et al. 2011)",
        licence="for non-commercial use only, as its authors state",
        split=f"official: {len(train)} training and {len(test)} test images",
        constants=CONSTANTS["svhn"],
    )


def _split(path: Path) -> Split:
    arrays = _load(path)
    images, labels = arrays.get("X"), arrays.get("y")
    if images is None or images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):
        raise DataError(f"{path}: not an SVHN file (no array 'X' of bytes, 32x32x3xn)")
    if labels is None or labels.dtype.kind not in "iu" or labels.size != images.shape[3]:
        raise DataError(f"{path}: not an SVHN file (no array 'y' with {images.shape[3]} whole numbers)")
    digits = torch.from_numpy(labels.reshape(-1).astype(np.int64))
    if not ((digits >= 0) & (digits <= 10)).all():
        raise DataError(f"{path}: label {int(digits.max() if digits.max() > 10 else digits.min())} is outside 1..10")
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1)))
    return make_split(pixels, digits % 10, 10, str(path))


def _load(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        return dict(loadmat(path, variable_names=["X", "y"]))
    except Exception as error:  # a damaged file can fail in any way
        raise DataError(f"{path}: damaged, or not a MATLAB file ({error})") from error
