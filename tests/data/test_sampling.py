"""Rows class by class."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datadistill.core.errors import DataError
from datadistill.data.sampling import draw_batches, rows_by_class, sample_per_class


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.lists(st.integers(0, 4), max_size=40))
def test_rows_by_class_are_all_rows_of_that_class(labels: list[int]) -> None:
    rows = rows_by_class(torch.tensor(labels, dtype=torch.int64), 5)
    assert [own.tolist() for own in rows] == [[i for i, y in enumerate(labels) if y == c] for c in range(5)]


def test_rows_by_class_refuses_a_label_out_of_range() -> None:
    with pytest.raises(DataError, match=r"^labels run from 0 to 5, but there are 3 classes$"):
        rows_by_class(torch.tensor([0, 5]), 3)


@given(st.integers(0, 2**32), st.integers(0, 6))
def test_sample_is_sorted_by_class_and_distinct(seed: int, per_class: int) -> None:
    labels = torch.randint(0, 4, (60,), generator=generator(1))
    rows = sample_per_class(labels, per_class, 4, generator(seed))
    assert labels[rows].tolist() == [c for c in range(4) for _ in range(per_class)]
    assert len(set(rows.tolist())) == 4 * per_class
    assert torch.equal(rows, sample_per_class(labels, per_class, 4, generator(seed)))


def test_every_row_of_a_class_is_equally_likely() -> None:
    labels, stream = torch.tensor([0, 1, 0, 0, 0]), generator()
    drawn = torch.cat([sample_per_class(labels, 1, 2, stream)[:1] for _ in range(400)])
    assert torch.bincount(drawn, minlength=5)[[0, 2, 3, 4]].min() > 60


def test_too_few_images_names_class_and_counts() -> None:
    with pytest.raises(DataError, match=r"^class 1 has 1 images, 2 were asked for$"):
        sample_per_class(torch.tensor([0, 0, 1]), 2, 2, generator())


def test_batches_are_distinct_rows_of_each_class_and_a_small_class_gives_all() -> None:
    labels = torch.tensor([0, 1, 0, 0, 1, 0, 2])
    batches = draw_batches(rows_by_class(labels, 3), 3, generator(), torch.device("cpu"))
    assert [len(own) for own in batches] == [3, 2, 1]
    for label, own in enumerate(batches):
        assert labels[own].tolist() == [label] * len(own)
        assert len(set(own.tolist())) == len(own)
