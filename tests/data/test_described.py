"""Sets described in a TOML file, and changes to sets that have been read."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datadistill.core.errors import ConfigError, DataError, DataNotFoundError, UnknownNameError
from datadistill.data import fit_preprocess, from_arrays, load_dataset
from datadistill.data.preprocess import measure_constants
from datadistill.data.reform import reform, reform_pixels, select
from datadistill.data.request import Form

Write = Callable[..., Path]


def describe(tmp_path: Path, **keys: Any) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text("".join(f"{key} = {'true' if value is True else repr(value)}\n" for key, value in keys.items()))
    return path


def test_classes_and_size_of_a_folder(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "pets", {"cat": 5, "dog": 5, "newt": 5})
    path = describe(tmp_path, dataset="pets", classes=["newt", 0], size=[3, 5], resize="crop", name="two pets")
    data = load_dataset(str(path), Path("elsewhere"), validation=0)
    assert (data.card.name, data.card.classes, data.card.shape) == ("two pets", ("newt", "cat"), (3, 3, 5))
    assert len(data.train) + len(data.test) == 10


def test_classes_and_colour_of_a_named_set(tmp_path: Path) -> None:
    path = describe(tmp_path, dataset="digits", classes=["7", 1], rgb=True)
    data = load_dataset(str(path), tmp_path, validation=20)
    assert (data.card.classes, data.card.shape, len(data.validation)) == (("7", "1"), (3, 8, 8), 20)
    assert data.card.split.startswith("360 of 1797 images as test, stratified by class, fixed; 2 of 10 classes")
    assert data.card.constants["measured"] == measure_constants(data.train.images)


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"dataset": "pets", "class": ["a"]}, ConfigError, "mine.toml: unknown key 'class'; did you mean 'classes'?"),
        ({}, ConfigError, "mine.toml: missing key 'dataset'"),
        ({"dataset": "digits", "size": "8"}, ConfigError, "mine.toml: size: expected a whole number"),
        ({"dataset": "digits", "size": 0}, ConfigError, "size 0x0: each side must be"),
        (
            {"dataset": "digits", "resize": "stretch"},
            ConfigError,
            "resize: unknown value 'stretch'; valid: crop, squash",
        ),
        ({"dataset": "digits", "classes": ["11"]}, UnknownNameError, "digits: no class '11'; did you mean '1'?"),
        ({"dataset": "digits", "classes": [11]}, UnknownNameError, "digits: no class 11; there are 10"),
        ({"dataset": "didgits"}, UnknownNameError, "unknown data set 'didgits'; did you mean 'digits'?"),
        ({"dataset": "no/such"}, DataNotFoundError, "no/such: no such file or folder"),
        ({"dataset": "mine.toml"}, ConfigError, "a description cannot lead to another one"),
    ],
)
def test_wrong_descriptions(tmp_path: Path, keys: dict[str, Any], error: type[Exception], message: str) -> None:
    path = describe(tmp_path, **keys)
    with pytest.raises(error, match=re.escape(message)):
        load_dataset(str(path), tmp_path, validation=0)


def test_a_description_that_is_no_toml(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("dataset = ")
    with pytest.raises(ConfigError, match=r"mine\.toml: not a TOML file"):
        load_dataset("mine.toml", tmp_path, validation=0)


def test_mnist_in_colour_keeps_its_constants(tmp_path: Path, write_idx: Write) -> None:
    write_idx(tmp_path / "MNIST" / "raw")
    grey, colour = (load_dataset(name, tmp_path, validation=0) for name in ("mnist", "MNIST_RGB"))
    assert (colour.card.name, colour.card.shape) == ("mnist-rgb", (3, 28, 28))
    assert torch.equal(colour.train.images, grey.train.images.expand(-1, 3, -1, -1))
    assert colour.card.constants["dc"] == ((0.1307,) * 3, (0.3081,) * 3)
    assert colour.card.checksum != grey.card.checksum
    assert fit_preprocess("normalise:dd-2018", colour).description["mean"] == [0.1307] * 3


def some_data(channels: int = 2) -> Any:
    images = torch.randint(0, 256, (12, channels, 8, 9), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return from_arrays(images, torch.arange(12) % 3, images[:6], torch.arange(6) % 3, classes=["a", "b", "c"])


def test_nothing_asked_nothing_changed() -> None:
    data = some_data()
    assert reform(data, Form()) is data
    assert select(data, None) is data


@given(st.permutations(range(3)))
def test_select_keeps_every_image_of_its_classes(order: list[int]) -> None:
    data = some_data()
    wanted = order[:2]
    chosen = select(data, tuple(wanted))
    for label, old in enumerate(wanted):
        assert torch.equal(
            chosen.train.images[chosen.train.labels == label], data.train.images[data.train.labels == old]
        )
    assert chosen.card.classes == tuple("abc"[old] for old in wanted)


def test_every_channel_is_resized_by_itself() -> None:
    images = some_data(channels=5).train.images
    whole = reform_pixels(images, Form(size=(7, 3)))
    assert whole.shape == (12, 5, 7, 3)
    assert torch.equal(whole[:, 2:3], reform_pixels(images[:, 2:3], Form(size=(7, 3))))


def test_what_is_described_may_not_hold_a_pickle(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", images=np.array([{"a": 1}], dtype=object), labels=np.array([0]))
    path = describe(tmp_path, dataset="bad.npz")
    with pytest.raises(DataError, match=r"not a whole \.npz file of plain arrays"):
        load_dataset(str(path), tmp_path, validation=0)
