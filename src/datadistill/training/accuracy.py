"""Accuracy of a network on a labelled set."""

from collections.abc import Callable
from functools import lru_cache

import torch

from datadistill.core.arrays import Images, Logits, Params, Statistics
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
    if not len(examples):
        raise ValueError("accuracy over no images is not defined")
    whole = _compiled(network.original, torch.get_num_threads()) if compiled else network
    right = torch.zeros((), dtype=torch.int64, device=params.device)
    with torch.no_grad():
        for start in range(0, len(examples), _TEST_BATCH):
            rows = slice(start, start + _TEST_BATCH)
            images = examples.prepare(examples.images[rows])
            logits = (whole if len(images) == _TEST_BATCH else network)(params, images, statistics)
            right += (logits.argmax(1) == examples.targets[rows]).sum()
    return right.item() / len(examples)


@lru_cache(maxsize=16)
def _compiled(network: FlatNetwork, threads: int) -> Callable[..., Logits]:
    """Return the compiled forward pass of a network, for so many threads."""

    def forward(params: Params, images: Images, statistics: Statistics) -> Logits:
        return network(params, images, statistics)

    return compile_whole(forward)
