"""Accuracy of a network on a labelled set."""

from collections.abc import Callable
from functools import lru_cache

import torch

from datadistill.core.arrays import Images, Labels, Logits, Params, Statistics
from datadistill.networks import FlatNetwork
from datadistill.runtime.compiler import compile_whole
from datadistill.training.fit import Examples

_TEST_BATCH = 500  # of which the usual test sets are multiples; a rest is not worth compiling for


def accuracy(
    network: FlatNetwork, params: Params, statistics: Statistics, examples: Examples, *, compiled: bool = False
) -> float:
    """Return the fraction of ``examples`` (class indices as targets) the network classifies correctly.

    Raises:
        ValueError: If there are no examples.
    """
    predicted = predictions(network, params, statistics, examples, compiled=compiled)
    return accuracy_of(predicted, examples.targets)


def accuracy_of(predicted: Labels, labels: Labels) -> float:
    """Return the fraction of predictions that are right.

    Raises:
        ValueError: If there are none.
    """
    if not len(predicted):
        raise ValueError("accuracy over no images is not defined")
    return int((predicted == labels).sum()) / len(predicted)


def predictions(
    network: FlatNetwork, params: Params, statistics: Statistics, examples: Examples, *, compiled: bool = False
) -> Labels:
    """Return the class that the network gives each of ``examples``."""
    whole = _compiled(network.original, torch.get_num_threads()) if compiled else network
    predicted = []
    with torch.no_grad():
        for start in range(0, len(examples), _TEST_BATCH):
            rows = slice(start, start + _TEST_BATCH)
            images = examples.prepare(examples.images[rows])
            logits = (whole if len(images) == _TEST_BATCH else network)(params, images, statistics)
            predicted.append(logits.argmax(1))
    return torch.cat(predicted) if predicted else examples.targets.new_empty(0)


@lru_cache(maxsize=16)
def _compiled(network: FlatNetwork, threads: int) -> Callable[..., Logits]:
    """Return the compiled forward pass of a network, for so many threads."""

    def forward(params: Params, images: Images, statistics: Statistics) -> Logits:
        return network(params, images, statistics)

    return compile_whole(forward)
