"""Data sets of PyTorch, parquet files, and sets of the Hub."""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from datadistill.core.errors import DataError, DataNotFoundError, UnknownNameError
from datadistill.data import from_dataset, load_dataset

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 4, 5, 3), dtype=np.uint8)
LABELS = [0, 1] * 5


class Pairs(list[Any]):
    """A dataset: any list of pairs."""


def pairs(make: Callable[[np.ndarray[Any, Any]], Any] = Image.fromarray) -> Pairs:
    return Pairs((make(image), label) for image, label in zip(PIXELS, LABELS, strict=True))


@pytest.mark.parametrize(
    "make",
    [
        Image.fromarray,
        np.array,
        torch.from_numpy,
        lambda image: torch.from_numpy(image).permute(2, 0, 1),
        lambda image: torch.from_numpy(image).permute(2, 0, 1) / 255,
    ],
)
def test_every_kind_of_image(make: Callable[[Any], Any]) -> None:
    data = from_dataset(pairs(make), pairs(make)[:4], name="mine")
    assert (data.card.name, data.card.shape, data.card.classes) == ("mine", (3, 4, 5), ("0", "1"))
    assert torch.equal(data.train.images, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    assert data.card.source == "dataset Pairs; 4 of 4 test images equal a training image"
    assert "measured" in data.card.constants


def test_tensor_dataset_and_its_own_test_split() -> None:
    images = torch.rand(20, 7, 3, 9, generator=torch.Generator().manual_seed(0))
    data = from_dataset(TensorDataset(images, torch.arange(20) % 2), classes=["cat", "dog"])
    assert (data.card.shape, data.card.classes, len(data.test)) == ((7, 3, 9), ("cat", "dog"), 4)


def test_names_are_those_of_the_dataset() -> None:
    named = pairs()
    named.classes = ["cat", "dog"]  # type: ignore[attr-defined]
    assert from_dataset(named).card.classes == ("cat", "dog")


def test_of_several_names_of_a_class_the_first_is_taken() -> None:
    named = pairs()
    named.classes = [("tench", "Tinca tinca"), ("goldfish",)]  # type: ignore[attr-defined]
    assert from_dataset(named).card.classes == ("tench", "goldfish")


def test_grey_beside_colour_and_other_sizes() -> None:
    mixed = pairs()
    mixed[0] = (Image.fromarray(PIXELS[0, :, :, 0]).resize((10, 8)), 0)
    data = from_dataset(mixed, pairs())
    assert data.card.shape == (3, 4, 5)
    assert "; 1 of 20 images resized to 4x5 (squash)" in data.card.source
    assert from_dataset(mixed, size=6).card.shape == (3, 6, 6)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((PIXELS[0] / 100, 0), "mine: training item 3: floats must lie in [0, 1]"),
        ((np.full((4, 5), np.nan), 0), "mine: training item 3: contains NaN or infinity"),
        ((PIXELS[0].astype(np.int32), 0), "mine: training item 3: dtype int32"),
        ((PIXELS[0, 0, 0], 0), "mine: training item 3: a ndarray of shape [3] is not an image"),
        (("cat.png", 0), "mine: training item 3: a str is not an image"),
        ((Image.fromarray(np.full((4, 5), 999, np.uint16)), 0), "item 3: pixels of type 'I;16'"),
        ((PIXELS[0], 0.5), "mine: training item 3: label '0.5' is not a whole number"),
        ((PIXELS[0], None), "mine: training item 3: label 'None' is not a whole number"),
        ((PIXELS[0], -1), "mine: training item 3: label -1 is negative"),
        ((PIXELS[0], 10**9), "mine: label 1000000000 among 20 images"),
        (PIXELS[0], "mine: training item 3: a ndarray, not (image, label)"),
        ((np.zeros((4, 5, 2), np.uint8), 0), "mine: images of 2 and 3 channels"),
    ],
)
def test_wrong_items_are_named(item: Any, message: str) -> None:
    wrong = pairs()
    wrong[3] = item
    with pytest.raises(DataError, match=f"{re.escape(message)}"):
        from_dataset(wrong, pairs(), name="mine")


def test_other_things_than_datasets() -> None:
    loader = DataLoader(pairs(np.array))
    with pytest.raises(DataError, match=r"a DataLoader has no __len__ and __getitem__; give the dataset itself$"):
        from_dataset(loader)
    with pytest.raises(DataError, match=r"^dataset: no room for a test split"):
        from_dataset(Pairs())
    with pytest.raises(DataError, match=r"label 1 is outside 0..0 \(1 classes\)$"):
        from_dataset(pairs(), pairs(), classes=["only"])
    with pytest.raises(DataError, match=r"class 2 \('newt'\) has no training image$"):
        from_dataset(pairs(), pairs(), classes=["cat", "dog", "newt"])


def test_a_thousand_classes() -> None:
    many = Pairs((np.full((2, 2), i % 256, np.uint8), i % 1000) for i in range(2000))
    data = from_dataset(many, many)
    assert (data.classes, len(data.train)) == (1000, 2000)


# --- parquet


def png(image: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def rows(images: str = "image", labels: str = "label") -> list[dict[str, Any]]:
    return [
        {images: {"bytes": png(image), "path": None}, labels: label, "note": "x"}
        for image, label in zip(PIXELS, LABELS, strict=True)
    ]


METADATA = {b"huggingface": json.dumps({"info": {"features": {"label": {"names": ["cat", "dog"]}}}}).encode()}


class ArrowError(Exception):
    """Stands for the base of pyarrow's own errors."""


class Store:
    """Stands for pyarrow: what each file holds."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.metadata: dict[bytes, bytes] | None = METADATA

    def write(self, path: Path, content: list[dict[str, Any]]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"PAR1")
        self.rows[str(path)] = content
        return path

    def file(self, path: Path) -> Any:
        if str(path) not in self.rows:
            raise ArrowError("Parquet magic bytes not found in footer")
        content = self.rows[str(path)]
        schema = SimpleNamespace(names=[*content[0]], metadata=self.metadata)

        def batches(columns: list[str]) -> Any:
            for start in range(0, len(content), 3):
                part = [{name: row[name] for name in columns} for row in content[start : start + 3]]
                yield SimpleNamespace(to_pylist=lambda part=part: part)

        return SimpleNamespace(schema_arrow=schema, iter_batches=batches)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    fake, parquet = ModuleType("pyarrow"), ModuleType("pyarrow.parquet")
    parquet.ParquetFile = made.file  # type: ignore[attr-defined]
    fake.parquet, fake.ArrowException = parquet, ArrowError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", fake)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", parquet)
    return made


def test_one_parquet_file(tmp_path: Path, store: Store) -> None:
    store.write(tmp_path / "pets.parquet", rows())
    data = load_dataset("pets.parquet", tmp_path, validation=0)
    assert (data.card.name, data.card.classes, data.card.shape) == ("pets", ("cat", "dog"), (3, 4, 5))
    assert (len(data.train), len(data.test)) == (8, 2)


def test_a_folder_of_splits(tmp_path: Path, store: Store) -> None:
    for part in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001", "validation-00000-of-00001"):
        store.write(tmp_path / "pets" / "data" / f"{part}.parquet", rows("img", "fine_label"))
    store.metadata = None
    data = load_dataset("pets", tmp_path, validation=0)
    assert (len(data.train), len(data.test), data.card.classes) == (20, 10, ("0", "1"))
    assert torch.equal(data.test.images, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))


def test_columns_and_classes_by_description(tmp_path: Path, store: Store) -> None:
    store.write(tmp_path / "pets.parquet", rows("photo", "label"))
    (tmp_path / "mine.toml").write_text('dataset = "pets.parquet"\nimage = "photo"\nclasses = ["dog"]\nsize = 6\n')
    data = load_dataset("mine.toml", tmp_path, validation=0)
    assert (data.card.classes, data.card.shape) == (("dog",), (3, 6, 6))
    (tmp_path / "mine.toml").write_text('dataset = "pets.parquet"\nimage = "foto"\n')
    with pytest.raises(UnknownNameError, match=r"pets.parquet: no column 'foto'; did you mean 'photo'?"):
        load_dataset("mine.toml", tmp_path, validation=0)


def test_wrong_parquet_files(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "pets.parquet"

    def refused(content: list[dict[str, Any]], message: str) -> None:
        store.write(path, content)
        with pytest.raises((DataError, UnknownNameError), match=re.escape(message)):
            load_dataset(str(path), tmp_path, validation=0)

    refused(rows("photo"), f"{path}: no column image or img; columns: photo, label, note")
    refused([{"image": {"bytes": None, "path": "/etc/passwd"}, "label": 0}], f"{path}: row 0: holds no bytes")
    refused([{"image": b"no image", "label": 0}], f"{path}: row 0: not a readable image")
    refused([{"image": rows()[0]["image"]["bytes"][:-30], "label": 0}], f"{path}: row 0: not a readable image")
    refused([*rows(), {"image": rows()[0]["image"], "label": None}], "item 10: label 'None' is not a whole number")
    refused([*rows(), {"image": rows()[0]["image"], "label": 2}], "label 2 is outside 0..1 (2 classes)")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"cut\.parquet: damaged or not a parquet file"):
        load_dataset("cut.parquet", tmp_path, validation=0)
    for folder in ("a", "b"):
        store.write(tmp_path / "many" / folder / "train.parquet", rows())
    with pytest.raises(DataError, match="many: a, b hold parquet files; name one of these folders"):
        load_dataset("many", tmp_path, validation=0)


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pets.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r'parquet files need the extra \'hub\': pip install "datadistill\[hub\]"'):
        load_dataset("pets.parquet", tmp_path, validation=0)


# --- the Hub


class Image_:  # noqa: N801 (found by the name of its class)
    """Stands for datasets.Image."""


Image_.__name__ = "Image"


class ClassLabel:
    """Stands for datasets.ClassLabel."""

    def __init__(self, *names: str) -> None:
        self.names = [*names]


class Split(list[dict[str, Any]]):
    """Stands for a split of a Hub set."""

    features: dict[str, Any]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Put a Hub with one set into the place of the library; returns what was asked of it."""
    asked: list[Any] = []

    def load(path: str, configuration: str | None) -> dict[str, Split]:
        asked.append((path, configuration))
        if path == "no/such":
            raise FileNotFoundError("Dataset 'no/such'\n doesn't exist on the Hub")
        made = Split(
            {"img": Image.fromarray(image), "fine": label, "coarse": 0}
            for image, label in zip(PIXELS, LABELS, strict=True)
        )
        made.features = {"img": Image_(), "fine": ClassLabel("cat", "dog"), "coarse": ClassLabel("pet")}
        return {"train": made, "validation": made}

    fake = ModuleType("datasets")
    fake.load_dataset = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return asked


def test_a_set_of_the_hub(tmp_path: Path, hub: list[Any]) -> None:
    data = load_dataset("hub:me/pets:small", tmp_path, validation=0)
    assert hub == [("me/pets", "small")]
    assert (data.card.name, data.card.classes, len(data.test)) == ("pets", ("cat", "dog"), 10)
    (tmp_path / "mine.toml").write_text('dataset = "hub:me/pets"\nlabel = "coarse"\n')
    assert load_dataset("mine.toml", tmp_path, validation=0).card.classes == ("pet",)


def test_a_set_that_is_not_on_the_hub(tmp_path: Path, hub: list[Any]) -> None:
    with pytest.raises(DataNotFoundError, match=r"^hub:no/such: cannot be loaded \(Dataset 'no/such' doesn't exist"):
        load_dataset("hub:no/such", tmp_path, validation=0)


def test_without_the_library_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r'^hub:me/pets: needs the extra \'hub\': pip install "datadistill\[hub\]"'):
        load_dataset("hub:me/pets", tmp_path, validation=0)
