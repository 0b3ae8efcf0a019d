"""Nearest-neighbour classification: what the images of a set are worth without training any network."""

import torch
from torch import Tensor

from datadistill.core.arrays import Images
from datadistill.training.fit import Examples

_PAIRS, _IMAGES = 4_000_000, 1000  # distances, and test images, held at once


def nearest_accuracy(reference: Images, targets: Tensor, test: Examples, *, k: int, p: float) -> float:
    """Return the fraction of ``test`` whose class has most of the ``k`` nearest reference images.

    Soft targets are parts of a vote. Of equal votes the one with the nearer neighbours wins.

    Args:
        reference: ``[n c h w]``, in network space.
        targets: Of these, ``[n k]``.
        test: Real images with class indices.
        k: Neighbours, at most n of them count.
        p: Of the distance ‖a − b‖ₚ, positive; ``inf`` for the largest difference.

    Raises:
        ValueError: If there are no test images.
    """
    if not len(test):
        raise ValueError("accuracy over no images is not defined")
    k, flat = min(k, len(reference)), reference.flatten(1)
    weights = 1 + (k - torch.arange(k, device=flat.device)) / (k * k + 1)  # adds up to less than one more vote
    right, chunk = 0, max(1, min(_IMAGES, _PAIRS // len(reference)))
    for start in range(0, len(test), chunk):
        rows = slice(start, start + chunk)
        images = test.prepare(test.images[rows]).flatten(1)
        distances = torch.cdist(images, flat, p=p, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = distances.topk(k, largest=False).indices
        votes = (targets[nearest] * weights[None, :, None]).sum(1)
        right += int((votes.argmax(1) == test.targets[rows]).sum())
    return right / len(test)
