"""What is held out: stratified, fixed, said."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datadistill.core.errors import DataError
from datadistill.data.base import RealData, Split
from datadistill.data.npz import from_arrays
from datadistill.data.preprocess import measure_constants
from datadistill.data.split import hold_out, part_test, stratified_rows


def some_data(counts: list[int], seed: int = 0) -> RealData:
    labels = torch.cat([torch.full((count,), c) for c, count in enumerate(counts)])
    generator = torch.Generator().manual_seed(seed)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    pixels = torch.randint(0, 256, (len(labels), 1, 2, 2), generator=generator, dtype=torch.uint8)
    return from_arrays(pixels, labels, pixels, labels)


def multiset(*splits: Split) -> list[tuple[int, ...]]:
    return sorted(
        (int(y), *x.flatten().tolist()) for split in splits for x, y in zip(split.images, split.labels, strict=True)
    )


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.data())
def test_stratified_rows_keep_shares_and_leave_one_of_each(counts: list[int], draw: st.DataObject) -> None:
    labels = torch.cat([torch.full((count,), c) for c, count in enumerate(counts)])
    count = draw.draw(st.integers(0, len(labels) - len(counts)))
    rows = stratified_rows(labels, count, torch.Generator().manual_seed(0))
    assert len(rows) == count == len(set(rows.tolist()))
    assert rows.tolist() == sorted(rows.tolist())
    taken = torch.bincount(labels[rows], minlength=len(counts)).tolist()
    room = all(count * size / len(labels) <= size - 1 for size in counts)
    for size, own in zip(counts, taken, strict=True):
        assert own <= size - 1
        if room:
            assert abs(own - count * size / len(labels)) < 1


@pytest.mark.parametrize("count", [-1, 4])
def test_stratified_rows_refuse_what_cannot_be(count: int) -> None:
    message = f"^cannot separate {count} of 5 images: between 0 and 3 are possible"
    with pytest.raises(DataError, match=message):
        stratified_rows(torch.tensor([0, 0, 0, 1, 1]), count, torch.Generator())


def test_hold_out_moves_images_and_says_so() -> None:
    data = some_data([10, 20, 30])
    held = hold_out(data, 12)
    assert torch.bincount(held.validation.labels).tolist() == [2, 4, 6]
    assert multiset(held.train, held.validation) == multiset(data.train)
    assert torch.equal(held.test.images, data.test.images)
    assert held.card.split.endswith("; 12 training images held out for validation, stratified by class, fixed")
    assert held.card.checksum == data.card.checksum
    assert held.card.constants == {"measured": measure_constants(held.train.images)}


def test_hold_out_depends_on_the_data_only() -> None:
    one, two = (hold_out(some_data([10, 20]), 6) for _ in range(2))
    assert torch.equal(one.validation.images, two.validation.images)


def test_hold_out_of_none_changes_nothing() -> None:
    data = some_data([3, 3])
    assert hold_out(data, 0) is data
    assert len(data.validation) == 0


def test_hold_out_refuses_too_many_negative_and_twice() -> None:
    data = some_data([3, 3])
    for count in (-1, 5, 100):
        with pytest.raises(DataError, match=f"^arrays: validation: cannot separate {count} of 6 images"):
            hold_out(data, count)
    with pytest.raises(DataError, match=r"^arrays: 2 validation images are held out already$"):
        hold_out(hold_out(data, 2), 2)


def test_part_test_takes_a_fifth() -> None:
    labels = torch.arange(50) % 5
    train, test = part_test(labels, "x")
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(50))
    assert torch.bincount(labels[test]).tolist() == [2] * 5
    with pytest.raises(DataError, match=r"^x: no room for a test split: cannot separate 1 of 2 images"):
        part_test(torch.tensor([0, 1]), "x")
