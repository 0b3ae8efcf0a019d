"""CUB-200 and PASCAL VOC in their official layouts."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datadistill.core.errors import DataError
from datadistill.data import load_dataset

BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Crow")


def flat(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), level, np.uint8)).save(path)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    root = tmp_path / "CUB_200_2011"
    tables: dict[str, list[str]] = {"images": [], "image_class_labels": [], "train_test_split": [], "classes": []}
    for place, bird in enumerate(BIRDS):
        tables["classes"].append(f"{place + 1} {bird}")
        for i in range(3):
            number = len(tables["images"]) + 1
            flat(root / "images" / bird / f"{i}.jpg", 80 * place + i)
            tables["images"].append(f"{number} {bird}/{i}.jpg")
            tables["image_class_labels"].append(f"{number} {place + 1}")
            tables["train_test_split"].append(f"{number} {int(i < 2)}")
    for name, lines in tables.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_cub(tmp_path: Path, birds: Path) -> None:
    data = load_dataset("CUB200", tmp_path, validation=0)
    assert (data.card.name, data.card.shape) == ("cub200", (3, 224, 224))
    assert data.card.classes[0] == "Black footed Albatross"
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 0, 1, 1, 2, 2], [0, 1, 2])
    assert data.test.images[1, 0, 0, 0] == 82
    (tmp_path / "crows.toml").write_text('dataset = "cub200-8"\nclasses = ["Crow", 0]\n')
    some = load_dataset("crows.toml", tmp_path, validation=0)
    assert (some.card.shape, some.card.classes) == ((3, 8, 8), ("Crow", "Black footed Albatross"))
    assert (some.test.labels.tolist(), some.test.images[:, 0, 0, 0].tolist()) == ([1, 0], [2, 162])


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("images", "10 ../../secret.jpg", "image 10 has no class or no split"),
        ("images", "1 ../../secret.jpg", "image 1 lies outside the folder"),
        ("images", "1 /etc/passwd", "image 1 lies outside the folder"),
        ("classes", "4", "line 4: expected a number and a value"),
        ("image_class_labels", "3 77", "image 3 has no class"),
    ],
)
def test_wrong_tables_of_cub(tmp_path: Path, birds: Path, table: str, line: str, message: str) -> None:
    with (birds / f"{table}.txt").open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(DataError, match=re.escape(message)):
        load_dataset("cub200", tmp_path, validation=0)


BOX = "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """One picture per split; its left half is a cow, its right half the class that every split needs."""
    from datadistill.data.voc import VOC_CLASSES

    root = tmp_path / "VOCdevkit" / "VOC2007"
    for folder in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for name, image in (("trainval", "000005"), ("test", "000001")):
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(f"{image}\n")
        pixels = np.zeros((10, 20, 3), np.uint8)
        pixels[:, 10:] = 200
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{image}.jpg", quality=100)
        boxes = [("cow", (1, 1, 10, 10)), *((other, (11, 1, 20, 10)) for other in VOC_CLASSES if other != "cow")]
        objects = "".join(
            f"<object><name>{label}</name><difficult>1</difficult><bndbox>{BOX.format(*box)}</bndbox>"
            "<part><name>head</name></part></object>"
            for label, box in boxes
        )
        (root / "Annotations" / f"{image}.xml").write_text(f"<annotation>{objects}</annotation>")
    return root


def test_voc(tmp_path: Path, voc: Path) -> None:
    data = load_dataset("pascal-voc-4", tmp_path, validation=0)
    assert (data.card.name, data.card.shape, data.classes) == ("pascal-voc-4", (3, 4, 4), 20)
    assert data.card.split == "official: 20 objects of 'trainval' and 20 of 'test'"
    levels = dict(zip(data.train.labels.tolist(), data.train.images.float().mean((1, 2, 3)).tolist(), strict=True))
    cow = data.card.classes.index("cow")
    assert levels[cow] < 10
    assert all(level > 190 for label, level in levels.items() if label != cow)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation>", "000005.xml: not an annotation of VOC 2007"),
        ("<a><object><name>yak</name></object></a>", "000005.xml: not an annotation of VOC 2007"),
        ("<a><object><name>cow</name></object></a>", "000005.xml: not an annotation of VOC 2007"),
        (
            f"<a><object><name>cow</name><bndbox>{BOX.format(1, 1, 21, 10)}</bndbox></object></a>",
            "000005.jpg: not a readable image (box (0, 0, 21, 10) does not lie in 20 by 10 pixels)",
        ),
        ("<a/>", "trainval.txt: no objects"),
    ],
)
def test_wrong_annotations_of_voc(tmp_path: Path, voc: Path, content: str, message: str) -> None:
    (voc / "Annotations" / "000005.xml").write_text(content)
    with pytest.raises(DataError, match=re.escape(message)):
        load_dataset("pascal-voc-4", tmp_path, validation=0)


def test_a_list_of_voc_that_leads_elsewhere(tmp_path: Path, voc: Path) -> None:
    (voc / "ImageSets" / "Main" / "test.txt").write_text("../../../secret\n")
    with pytest.raises(DataError, match=r"test\.txt: line 1: expected the number of an image, found '\.\./"):
        load_dataset("pascal-voc-4", tmp_path, validation=0)
