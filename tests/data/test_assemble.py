"""The checks every reader ends with."""

import hashlib
import re

import numpy as np
import pytest
import torch

from datadistill.core.errors import DataError
from datadistill.data.assemble import assemble, make_split
from datadistill.data.base import RealData, Split


def pixels(count: int, *shape: int) -> torch.Tensor:
    return torch.arange(count * int(np.prod(shape))).view(count, *shape).to(torch.uint8)


def together(train: Split, test: Split, classes: int = 2) -> RealData:
    names = tuple("abc"[:classes])
    return assemble(train, test, name="tiny", classes=names, source="s", licence="l", split="p")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (pixels(2, 2, 4), torch.tensor([0, 1]), "not uint8 images [n c h w]: torch.uint8 [2, 2, 4]"),
        (pixels(2, 1, 4, 4).float(), torch.tensor([0, 1]), "not uint8 images [n c h w]: torch.float32"),
        (pixels(2, 1, 4, 4), torch.tensor([0]), "2 images but labels of shape [1]"),
        (pixels(0, 1, 4, 4), torch.tensor([], dtype=torch.int64), "no images"),
        (pixels(2, 1, 4, 4), torch.tensor([0, 2]), "label 2 is outside 0..1 (2 classes)"),
        (pixels(2, 1, 4, 4), torch.tensor([-1, 1]), "label -1 is outside 0..1 (2 classes)"),
    ],
)
def test_make_split_refuses(images: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"here: {message}")):
        make_split(images, labels, 2, "here")


def test_checksum_is_of_the_bytes_in_order() -> None:
    train = make_split(pixels(3, 3, 2, 2), torch.tensor([0, 1, 1]), 2, "")
    test = make_split(pixels(1, 3, 2, 2), torch.tensor([1]), 2, "")
    data = together(train, test)
    parts = [split.images.numpy().tobytes() + split.labels.numpy().tobytes() for split in (train, test)]
    assert data.card.checksum == hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()
    assert (data.card.shape, data.classes, len(data.validation)) == ((3, 2, 2), 2, 0)


def test_assemble_refuses_other_shapes_and_a_class_without_images() -> None:
    train = make_split(pixels(2, 1, 2, 2), torch.tensor([0, 1]), 2, "")
    wide = make_split(pixels(2, 1, 2, 3), torch.tensor([0, 1]), 2, "")
    with pytest.raises(DataError, match=re.escape("tiny: training images are [1, 2, 2], test images [1, 2, 3]")):
        together(train, wide)
    with pytest.raises(DataError, match=r"^tiny: class 2 \('c'\) has no training image$"):
        together(train, train, classes=3)
