"""USPS, handwritten digits of 16x16 pixels, in the three forms in which people have them.

``usps.bz2`` and ``usps.t.bz2`` as LIBSVM distributes them (labels 1..10 for the digits 0..9, values -1..1), ``usps.h5``
(groups ``train`` and ``test`` with ``data`` and ``target``, values 0..1; needs h5py), or ``usps.npz`` with the arrays
of :mod:`datadistill.data.npz`. Their grey levels differ, and with them the checksum. DD-2018 used a fourth form,
a pickle with another split.
"""

import bz2
from pathlib import Path

import numpy as np
import torch

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data.assemble import assemble, make_split
from datadistill.data.base import RealData, RemoteFile, Split
from datadistill.data.constants import CONSTANTS
from datadistill.data.npz import read_npz

USPS_AT = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/"
_LIBSVM = ("usps.bz2", "usps.t.bz2")
_FORMS = (_LIBSVM, ("usps.h5",), ("usps.npz",))
_FOLDERS = ("USPS", "usps", ".")
_VALUES = 256

USPS_FILES = tuple(
    RemoteFile(f"USPS/{name}", (f"{USPS_AT}{name}",), md5)
    for name, md5 in zip(_LIBSVM, ("ec16c51db3855ca6c91edd34d0e9b197", "8ea070ee2aca1ac39742fdd1ef5ed118"), strict=True)
)


def find_usps(root: Path) -> Path:
    """Return the file that is read (of the LIBSVM pair the training file), below ``root``.

    Raises:
        DataNotFoundError: If there is none of the three forms.
    """
    places = [root / name for name in _FOLDERS]
    for folder in places:
        for names in _FORMS:
            if all((folder / name).is_file() for name in names):
                return folder / names[0]
    looked = ", ".join(map(str, places))
    raise DataNotFoundError(
        f"usps: missing {' and '.join(_LIBSVM)}, usps.h5 or usps.npz; looked in {looked}; "
        f"get the first two from {USPS_AT} and put them into {places[0]}"
    )


def read_usps(root: Path) -> RealData:
    """Return USPS, 16x16 grey.

    Raises:
        DataNotFoundError: If there is no file.
        DataError: If a file is damaged or foreign, or h5py is needed and missing.
    """
    path = find_usps(root)
    if path.suffix == ".npz":
        data = read_npz(path)
        train, test = data.train, data.test
        if tuple(train.images.shape[1:]) != (1, 16, 16) or data.classes != 10:
            raise DataError(f"{path}: expected grey images of 16x16 pixels in 10 classes, found {data.card.shape}")
    elif path.suffix == ".h5":
        train, test = _hdf5(path)
    else:
        train, test = _libsvm(path), _libsvm(path.with_name(_LIBSVM[1]))
    return assemble(
        train,
        test,
        name="usps",
        classes=tuple(str(digit) for digit in range(10)),
        source=f"{path.name}; {USPS_AT} (Hull 1994)",
        licence="none stated",
        split=f"official: {len(train)} training and {len(test)} test images",
        constants=CONSTANTS["usps"],
    )


def _libsvm(path: Path) -> Split:
    """Return the images in a bzip2 file of lines ``label 1:value 2:value …``; values that are left out are 0."""
    try:
        lines = bz2.decompress(path.read_bytes()).decode("ascii").splitlines()
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: damaged or not a bzip2 file ({error})") from error
    values = np.zeros((len(lines), _VALUES))
    labels = np.zeros(len(lines), np.int64)
    for number, line in enumerate(lines):
        try:
            label, *pairs = line.split()
            labels[number] = int(label)
            for pair in pairs:
                place, _, value = pair.partition(":")
                if not 1 <= int(place) <= _VALUES:
                    raise ValueError(f"value number {place}")
                values[number, int(place) - 1] = float(value)
        except ValueError as error:
            raise DataError(f"{path}: line {number + 1}: not LIBSVM's format ({error})") from error
    return _split((values + 1) / 2, labels - 1, path)


def _hdf5(path: Path) -> tuple[Split, Split]:
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path}: reading HDF5 needs h5py (pip install h5py); usps.bz2 and usps.npz do not") from error
    try:
        with h5py.File(path) as file:
            parts = [(np.asarray(file[part]["data"]), np.asarray(file[part]["target"])) for part in ("train", "test")]
    except (OSError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the HDF5 file of USPS ({error})") from error
    return _split(*parts[0], path), _split(*parts[1], path)


def _split(values: np.ndarray, labels: np.ndarray, path: Path) -> Split:
    if values.size != len(values) * _VALUES or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: expected {_VALUES} values and one whole number per image")
    if not (np.isfinite(values) & (values >= -1e-6) & (values <= 1 + 1e-6)).all():
        raise DataError(f"{path}: a grey value is outside its range, or not a number")
    images = torch.from_numpy(np.rint(values.clip(0, 1) * 255).astype(np.uint8)).view(-1, 1, 16, 16)
    return make_split(images, torch.from_numpy(labels.astype(np.int64)), 10, str(path))
