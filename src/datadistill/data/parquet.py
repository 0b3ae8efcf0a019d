"""Parquet files in the image layout of the Hugging Face Hub: a column of encoded images, a column of labels.

An image is a record of ``bytes`` and ``path``, or the bytes alone; class names come from the metadata that the Hub's
tools write. Needs the extra ``hub``. Nothing that a file names is opened.
"""

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from datadistill.core.errors import DataError, UnknownNameError, nearest
from datadistill.data.base import RealData
from datadistill.data.decode import BROKEN, in_pool
from datadistill.data.items import read_items
from datadistill.data.request import Request

_IMAGES = ("image", "img", "picture", "jpg", "png")
_LABELS = ("label", "labels", "fine_label", "class", "target")
TEST_SPLITS = ("test", "validation", "valid", "val")
"""Splits that are taken as test set, the first that is there."""

Row = tuple[Image.Image, int]


def parquet_files(path: Path) -> dict[str, list[Path]]:
    """Return the parquet files of every split, by the word before the first dash of their names; empty without any.

    Args:
        path: A ``.parquet`` file, which is one split called ``all``; or a folder that holds such files, directly or in
            one folder more (``data/train-00000-of-00002.parquet``).

    Raises:
        DataError: If several folders hold such files.
    """
    if path.is_file():
        return {"all": [path]} if path.suffix == ".parquet" else {}
    files = sorted(path.glob("*.parquet")) or sorted(path.glob("*/*.parquet"))
    holders = sorted({file.parent.name for file in files})
    if len(holders) > 1:
        raise DataError(f"{path}: {', '.join(holders)} hold parquet files; name one of these folders")
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(file.stem.split("-")[0].lower(), []).append(file)
    return splits


def read_parquet(path: Path, request: Request) -> RealData:
    """Return the images in a parquet file, of which a fifth becomes the test set, or in a folder of splits.

    Raises:
        DataError: If pyarrow is missing, a file is damaged or has no such columns, or an image or a label is wrong.
        UnknownNameError: If a column that was asked for is not there; names the nearest.
    """
    splits = parquet_files(path)
    train, test = pick_splits(splits, str(path)) if "all" not in splits else ("all", None)
    names: list[str] = []
    rows, test_rows = (None if part is None else _rows(splits[part], request, names) for part in (train, test))
    return read_items(rows, test_rows, names or None, path.resolve().stem, f"parquet {path}", request)


def pick_splits(splits: Iterable[str], where: str) -> tuple[str, str | None]:
    """Return the names of the training and of the test split; one split alone has no test split.

    Raises:
        DataError: If there is no training split among several.
    """
    names = list(splits)
    if "train" not in names:
        if len(names) == 1:
            return names[0], None
        raise DataError(f"{where}: no split 'train' among {', '.join(names)}")
    return "train", next((name for name in TEST_SPLITS if name in names), None)


def pick_column(columns: Sequence[str], wanted: str | None, usual: Sequence[str], where: str) -> str:
    """Return the column that was asked for, or the first of the usual ones.

    Raises:
        UnknownNameError: If it is not there; names the nearest, or what there is.
    """
    if wanted is not None and wanted not in columns:
        raise UnknownNameError(f"{where}: no column '{wanted}'{nearest(wanted, columns)}")
    found = wanted or next((name for name in usual if name in columns), None)
    if found is None:
        raise UnknownNameError(f"{where}: no column {' or '.join(usual[:2])}; columns: {', '.join(columns)}")
    return found


def _rows(files: list[Path], request: Request, names: list[str]) -> list[Row]:
    """Return images and labels of one split; the class names, where the first file has them, go into ``names``."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(
            f"{files[0]}: parquet files need the extra 'hub': pip install \"datadistill[hub]\" ({error})"
        ) from error
    rows: list[Row] = []
    for path in files:
        try:
            file = parquet.ParquetFile(path)
            schema = file.schema_arrow
            columns = [str(name) for name in schema.names]
            image = pick_column(columns, request.columns[0], _IMAGES, str(path))
            label = pick_column(columns, request.columns[1], _LABELS, str(path))
            records = [record for batch in file.iter_batches(columns=[image, label]) for record in batch.to_pylist()]
        except (OSError, ArrowException) as error:
            raise DataError(f"{path}: damaged or not a parquet file ({error})") from error
        if not names:
            names += _class_names(schema.metadata, label)
        images = _pictures([record[image] for record in records], path, request)
        rows += [(picture, record[label]) for picture, record in zip(images, records, strict=True)]
    return rows


def _pictures(values: list[Any], path: Path, request: Request) -> list[Image.Image]:
    images: list[Any] = [None] * len(values)

    def work(row: int) -> None:
        images[row] = _open(values[row], path, row)

    in_pool(work, len(values), f"decoding {path.name}", request.reporter)
    return images


def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> list[str]:
    try:
        found = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    return [str(name) for name in found] if isinstance(found, list) else []


def _open(value: Any, path: Path, row: int) -> Image.Image:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise DataError(f"{path}: row {row}: holds no bytes of an image")
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except BROKEN as error:
        raise DataError(f"{path}: row {row}: not a readable image ({error})") from error
    return image
