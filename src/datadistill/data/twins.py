"""Test images that are in the training set as well, bit for bit: they make accuracies look better than they are."""

import hashlib
from dataclasses import replace

from datadistill.core.arrays import Pixels
from datadistill.data.base import RealData
from datadistill.runtime.progress import Reporter


def twins(data: RealData) -> list[tuple[int, int]]:
    """Return (row in test, row in train) of every test image that equals a training image."""
    first: dict[bytes, int] = {}
    for row, digest in enumerate(_digests(data.train.images)):
        first.setdefault(digest, row)
    return [(row, first[digest]) for row, digest in enumerate(_digests(data.test.images)) if digest in first]


def note_twins(data: RealData, reporter: Reporter) -> RealData:
    """Return ``data``; where test images equal training images, its card and one line say so.

    A set of one's own is not refused for that: official sets have some.
    """
    found = len(twins(data))
    if not found:
        return data
    words = f"{found} of {len(data.test)} test images equal a training image"
    reporter.say(f"{data.card.name}: {words}")
    return replace(data, card=replace(data.card, source=f"{data.card.source}; {words}"))


def _digests(images: Pixels) -> list[bytes]:
    return [hashlib.blake2b(image.data, digest_size=16).digest() for image in images.contiguous().numpy()]
