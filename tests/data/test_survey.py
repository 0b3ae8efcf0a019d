"""Looking over a data set: everything that is wrong with it, one line each."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datadistill.data import from_arrays
from datadistill.data.survey import survey_data, survey_folder
from datadistill.runtime.progress import Silent

Write = Callable[..., Path]


@pytest.fixture
def pets(tmp_path: Path, noise: Any) -> Path:
    """Ten pictures of cats, ten of dogs, and half as many for the test, all different."""
    seed = 0
    for part, count in (("train", 10), ("test", 5)):
        for name in ("cat", "dog"):
            for i in range(count):
                seed += 1
                path = tmp_path / "pets" / part / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(noise(4, 6, 3, seed=seed)).save(path)
    return tmp_path / "pets"


def test_a_good_folder(pets: Path) -> None:
    found = survey_folder(pets, Silent())
    assert (found.name, found.problems, found.classes) == ("pets", [], ["cat", "dog"])
    assert {part: dict(counts) for part, counts in found.counts.items()} == {
        "train": {"cat": 10, "dog": 10},
        "test": {"cat": 5, "dog": 5},
    }
    assert (dict(found.sizes), dict(found.channels)) == ({(4, 6): 30}, {3: 30})
    assert found.sheet is not None
    assert (found.sheet.shape, found.columns) == ((16, 3, 4, 6), 8)


def test_every_problem_is_one_line(pets: Path) -> None:
    (pets / "train" / "cat" / "0.png").write_bytes(b"no image")
    path = pets / "train" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:-60])
    Image.fromarray(np.full((4, 6), 999, np.uint16)).save(pets / "train" / "cat" / "deep.png")
    shutil.copy(pets / "train" / "dog" / "3.png", pets / "test" / "dog" / "again.png")
    shutil.copy(pets / "train" / "dog" / "4.png", pets / "train" / "dog" / "twice.png")
    (pets / "train" / "newt").mkdir()
    shutil.copytree(pets / "test" / "cat", pets / "test" / "yak")
    for i in range(5):
        (pets / "test" / "yak" / f"{i}.png").unlink()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(pets / "test" / "yak" / "grey.png")
    found = survey_folder(pets, Silent())
    text = "\n".join(found.problems)
    for words in (
        "cat/0.png: not a readable image",
        "cat/1.png: not a readable image",
        "cat/deep.png: pixels of type 'I;16'; only 8-bit grey or colour can be read",
        f"again.png: is there in the training set: {pets / 'train' / 'dog' / '3.png'}",
        f"twice.png: is there twice: {pets / 'train' / 'dog' / '4.png'}",
        f"{pets / 'train' / 'newt'}: class without images",
        f"{pets / 'test'}: class 'yak' is in the test set only",
        "class 'newt' is in the training set only",
    ):
        assert words in text, text
    assert len(found.problems) == 8
    assert dict(found.channels) == {3: 30 - 2 + 2, 1: 1}


def test_folders_that_cannot_be_read_at_all(tmp_path: Path, pets: Path) -> None:
    shutil.rmtree(pets / "test")
    assert survey_folder(pets, Silent()).problems == [
        f"{pets}: has a folder 'train' but no folder test, val or validation"
    ]
    (tmp_path / "empty").mkdir()
    empty = survey_folder(tmp_path / "empty", Silent())
    assert (empty.problems, empty.sheet) == ([f"{tmp_path / 'empty'}: contains no class folders"], None)


def test_one_folder_per_class(pets: Path) -> None:
    found = survey_folder(pets / "train", Silent())
    assert found.kind == "image folder, one folder per class; a fifth becomes the test set"
    assert (found.problems, sum(found.counts["train"].values())) == ([], 20)


def test_arrays(noise: Any) -> None:
    images, labels = noise(22, 5, 5, 2), np.array([0] * 20 + [1] * 2)
    found = survey_data(from_arrays(images, labels, images[:1], labels[:1], name="mine"), "arrays")
    assert found.problems == [
        "test image 0 equals training image 0",
        "classes are unbalanced: 2 to 20 training images",
    ]
    assert found.sheet is not None
    assert (found.sheet.shape, found.columns, dict(found.channels)) == ((16, 2, 5, 5), 8, {2: 23})
