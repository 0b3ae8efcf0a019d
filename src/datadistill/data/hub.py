"""Data sets of the Hugging Face Hub, or folders that its library reads, by ``hub:<name>``; needs the extra ``hub``."""

from typing import Any

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data.base import RealData
from datadistill.data.items import read_items
from datadistill.data.parquet import pick_column, pick_splits
from datadistill.data.request import Request

HUB = "hub:"
"""What such a name begins with."""


class _Pairs:
    """The rows of a Hub data set as (image, label)."""

    def __init__(self, rows: Any, image: str, label: str) -> None:
        self._rows, self._image, self._label = rows, image, label

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = self._rows[index]
        return row[self._image], row[self._label]


def read_hub(name: str, request: Request) -> RealData:
    """Return ``hub:<owner>/<name>``, or ``hub:<owner>/<name>:<configuration>``; what is fetched, its library keeps.

    Raises:
        DataError: If the library is missing, or the set has no images with labels.
        DataNotFoundError: If it cannot be loaded; says why.
        UnknownNameError: If a column that was asked for is not there; names the nearest.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{name}: needs the extra 'hub': pip install \"datadistill[hub]\" ({error})") from error
    path, _, configuration = name.removeprefix(HUB).partition(":")
    try:
        loaded = datasets.load_dataset(path, configuration or None)
    except Exception as error:  # the library lets through whatever its file systems raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataNotFoundError(f"{name}: cannot be loaded ({reason})") from error
    train, test = pick_splits(loaded, name)
    features = loaded[train].features
    kinds = {
        kind: [key for key in features if type(features[key]).__name__ == kind] for kind in ("Image", "ClassLabel")
    }
    image = pick_column(list(features), request.columns[0], kinds["Image"] or ["image", "img"], name)
    label = pick_column(list(features), request.columns[1], kinds["ClassLabel"] or ["label", "labels"], name)
    classes = getattr(features[label], "names", None)
    rows = _Pairs(loaded[train], image, label)
    test_rows = None if test is None else _Pairs(loaded[test], image, label)
    name = path.rstrip("/").rsplit("/", 1)[-1]
    return read_items(rows, test_rows, classes, name, f"Hugging Face Hub, {path}", request)
