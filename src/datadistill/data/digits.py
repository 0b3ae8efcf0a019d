"""scikit-learn's handwritten digits: 1797 grey images of 8×8 pixels, there without a download."""

from pathlib import Path

import torch

from datadistill.core.randomness import Randomness
from datadistill.data.assemble import assemble, make_split
from datadistill.data.base import RealData
from datadistill.data.split import stratified_rows

TEST_IMAGES = 360


def read_digits(root: Path) -> RealData:
    """Return the digits with a fixed, stratified test split; ``root`` is not used.

    The values 0..16 become bytes, ``x * 255 / 16`` rounded.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(bunch.target).long()
    whole = make_split(images, labels, 10, "digits")
    test = stratified_rows(labels, TEST_IMAGES, Randomness(0, ("data", "digits")).stream("test split"))
    in_test = torch.zeros(len(labels), dtype=torch.bool).index_fill_(0, test, True)
    return assemble(
        whole.take((~in_test).nonzero().flatten()),
        whole.take(test),
        name="digits",
        classes=tuple(str(digit) for digit in range(10)),
        source="scikit-learn's load_digits: test part of UCI's Optical Recognition of Handwritten Digits, "
        "https://archive.ics.uci.edu/dataset/80",
        licence="CC BY 4.0 (UCI)",
        split=f"{TEST_IMAGES} of {len(labels)} images as test, stratified by class, fixed",
    )
