"""scikit-learn's digits."""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from datadistill.data.digits import read_digits


def test_digits() -> None:
    data = read_digits(Path("not used"))
    assert data.train.images.shape == (1437, 1, 8, 8)
    assert data.test.images.shape == (360, 1, 8, 8)
    assert set(torch.bincount(data.test.labels).tolist()) <= {34, 35, 36, 37, 38}
    assert data.card.split == "360 of 1797 images as test, stratified by class, fixed"
    values = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    both = torch.cat([data.train.images, data.test.images]).numpy()
    assert sorted(map(bytes, both)) == sorted(map(bytes, values))
    assert data.card.checksum == read_digits(Path("elsewhere")).card.checksum
    assert 0.30 < data.card.constants["measured"][0][0] < 0.31
