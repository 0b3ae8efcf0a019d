"""Drawing rows class by class."""

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from datadistill.core.arrays import Labels
from datadistill.core.errors import DataError
from datadistill.core.randomness import Randomness

Rows = Int64[Tensor, " _"]
"""Indices of images in a split."""


def rows_by_class(labels: Labels, k: int) -> list[Rows]:
    """Return the rows of each of the ``k`` classes, ascending, on the device of ``labels``.

    Raises:
        DataError: If a label is not in 0..k-1.
    """
    if len(labels) and not (labels.min() >= 0 and labels.max() < k):
        raise DataError(f"labels run from {labels.min()} to {labels.max()}, but there are {k} classes")
    counts: list[int] = torch.bincount(labels, minlength=k).tolist()
    return list(torch.argsort(labels, stable=True).split(counts))


def check_enough(labels: Labels, classes: Sequence[str], ipc: int, name: str, each: int = 1) -> None:
    """Check that every class has as many training images as there shall be synthetic ones, or ``each`` times as many.

    Baselines and first images are drawn from them without putting back.

    Raises:
        DataError: If a class has fewer; names it and both counts.
    """
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    short = [label for label in range(len(classes)) if counts[label] < ipc * each]
    if short:
        label, others = short[0], f" (and {len(short) - 1} more classes)" if len(short) > 1 else ""
        canvas = f" with {each} on a canvas" if each > 1 else ""
        raise DataError(
            f"{name}: class {label} ('{classes[label]}') has {counts[label]} training images, "
            f"ipc is {ipc}{canvas}{others}; at most {min(counts) // each} are possible here"
        )


def draw_per_class(rows: Sequence[Rows], per_class: int, generator: torch.Generator) -> Rows:
    """Return ``per_class`` distinct rows of every class, sorted by class, in random order within each.

    Args:
        rows: What :func:`rows_by_class` returned; keep it where many draws are made.
        per_class: Rows per class.
        generator: A CPU generator; the numbers are the same on every device.

    Raises:
        DataError: If a class has fewer rows; the message names its index and both counts.
    """
    for label, own in enumerate(rows):
        if len(own) < per_class:
            raise DataError(f"class {label} has {len(own)} images, {per_class} were asked for")
    drawn = [own[torch.randperm(len(own), generator=generator)[:per_class].to(own.device)] for own in rows]
    return torch.cat(drawn)


def draw_batches(
    rows: Sequence[Rows], per_class: int, generator: torch.Generator, device: torch.device
) -> Sequence[Rows]:
    """Return ``per_class`` distinct rows of every class, in random order, moved to ``device`` in one copy.

    A class with fewer rows gives all it has: an image counts once, however large the batch was asked to be.

    Args:
        rows: What :func:`rows_by_class` returned, on the CPU.
        per_class: Rows per class.
        generator: A CPU generator.
        device: Where the images are.
    """
    drawn = [own[torch.randperm(len(own), generator=generator)[:per_class]] for own in rows]
    batches: Sequence[Rows] = torch.cat(drawn).to(device, non_blocking=True).split([len(own) for own in drawn])
    return batches


def sample_per_class(labels: Labels, per_class: int, k: int, generator: torch.Generator) -> Rows:
    """Return ``per_class`` distinct rows of each of the ``k`` classes, sorted by class.

    Args:
        labels: Labels of a split, 0..k-1.
        per_class: Rows per class.
        k: Number of classes.
        generator: A CPU generator.

    Raises:
        DataError: If a label is out of range, or a class has fewer images.
    """
    return draw_per_class(rows_by_class(labels, k), per_class, generator)


def batch_of_epoch(images: int, size: int, rng: Randomness) -> Rows:
    """Return the rows of one batch of shuffled passes over ``images`` images: that of iteration ``rng.iteration``.

    What is left at the end of a pass is left out. A batch as large as the set is the set, in its order.

    Args:
        images: Images there are.
        size: Rows of a batch, at least 1.
        rng: Stream ``real`` is drawn from it, once per pass.
    """
    if size >= images:
        return torch.arange(images)
    epoch, place = divmod(max(rng.iteration - 1, 0), images // size)
    order = torch.randperm(images, generator=rng.at(epoch).stream("real"))
    return order[place * size : (place + 1) * size]
