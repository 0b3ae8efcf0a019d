"""Separating validation and test images: stratified, and the same for every run on the same data."""

from dataclasses import replace

import torch

from datadistill.core.arrays import Labels
from datadistill.core.errors import DataError
from datadistill.core.randomness import Randomness
from datadistill.data.base import RealData
from datadistill.data.preprocess import measure_constants
from datadistill.data.sampling import Rows, rows_by_class

_SEED = 0
TEST_SHARE = 0.2
"""Part of a set without a test split of its own that becomes one."""


def stratified_rows(labels: Labels, count: int, generator: torch.Generator) -> Rows:
    """Return ``count`` random rows, ascending, with every class in its share of the whole.

    Shares are rounded by largest remainder, and at least one row of every class is left.

    Args:
        labels: Class indices, on any device.
        count: Rows to draw, 0 to the number of images minus the number of classes that occur.
        generator: A CPU generator.

    Raises:
        DataError: If ``count`` is negative or too large.
    """
    labels = labels.cpu()
    rows = rows_by_class(labels, int(labels.max()) + 1 if len(labels) else 0)
    most = sum(max(len(own) - 1, 0) for own in rows)
    if not 0 <= count <= most:
        raise DataError(
            f"cannot separate {count} of {len(labels)} images: between 0 and {most} are possible "
            "(one image of every class must stay)"
        )
    takes = _shares([len(own) for own in rows], count)
    drawn = [own[torch.randperm(len(own), generator=generator)[:n]] for own, n in zip(rows, takes, strict=True)]
    return torch.cat([*drawn, labels[:0]]).sort().values


def part_test(labels: Labels, name: str) -> tuple[Rows, Rows]:
    """Return the rows of a training and of a test split, ascending, for a set that has none of its own.

    Depends on the labels only. The test split has :data:`TEST_SHARE` of the images, at least one.

    Raises:
        DataError: If there are not enough images; the message starts with ``name``.
    """
    count = max(1, round(TEST_SHARE * len(labels)))
    try:
        test = stratified_rows(labels, count, Randomness(_SEED, ("data",)).stream("test split"))
    except DataError as error:
        raise DataError(f"{name}: no room for a test split: {error}") from error
    return _others(len(labels), test), test


def hold_out(data: RealData, count: int) -> RealData:
    """Return ``data`` with ``count`` training images moved to the validation split, stratified by class.

    Which ones depends on the checksum of the data and on ``count`` only, never on the seed of a run; it is
    said on ``card.split``. Constants measured on the training split are measured again.

    Args:
        data: A data set whose validation split is empty.
        count: Images to hold out; 0 changes nothing.

    Raises:
        DataError: If ``count`` is negative or leaves a class without training images, or if there is a
            validation split already.
    """
    if count == 0:
        return data
    card = data.card
    if len(data.validation):
        raise DataError(f"{card.name}: {len(data.validation)} validation images are held out already")
    labels = data.train.labels.cpu()
    generator = Randomness(_SEED, ("data", card.checksum)).stream("validation split")
    try:
        held = stratified_rows(labels, count, generator)
    except DataError as error:
        raise DataError(f"{card.name}: validation: {error}") from error
    device = data.train.labels.device
    train = data.train.take(_others(len(labels), held).to(device))
    constants = dict(card.constants)
    if "measured" in constants:
        constants["measured"] = measure_constants(train.images)
    words = f"{card.split}; {count} training images held out for validation, stratified by class, fixed"
    return replace(
        data,
        card=replace(card, split=words, constants=constants),
        train=train,
        validation=data.train.take(held.to(device)),
    )


def _shares(sizes: list[int], count: int) -> list[int]:
    total = max(sum(sizes), 1)
    takes = [count * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda c: -(count * sizes[c] % total))
    left = count - sum(takes)
    while left:
        for c in by_remainder:
            if left and takes[c] < sizes[c] - 1:
                takes[c] += 1
                left -= 1
    return takes


def _others(total: int, rows: Rows) -> Rows:
    keep = torch.ones(total, dtype=torch.bool)
    keep[rows] = False
    return keep.nonzero().flatten()
