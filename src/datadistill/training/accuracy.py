"""Accuracy of a network on a labelled set."""

import torch

from datadistill.core.arrays import Params, Statistics
from datadistill.networks import FlatNetwork
from datadistill.training.fit import Examples

_TEST_BATCH = 512


def accuracy(network: FlatNetwork, params: Params, statistics: Statistics, examples: Examples) -> float:
    """Return the fraction of ``examples`` (class indices as targets) the network classifies correctly.

    Raises:
        ValueError: If there are no examples.
    """
    if not len(examples):
        raise ValueError("accuracy over no images is not defined")
    right = torch.zeros((), dtype=torch.int64, device=params.device)
    with torch.no_grad():
        for start in range(0, len(examples), _TEST_BATCH):
            rows = slice(start, start + _TEST_BATCH)
            logits = network(params, examples.prepare(examples.images[rows]), statistics)
            right += (logits.argmax(1) == examples.targets[rows]).sum()
    return right.item() / len(examples)
