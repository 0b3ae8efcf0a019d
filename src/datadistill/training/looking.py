"""What a trained network says of many images, a part of them at a time."""

import torch

from datadistill.core.arrays import Images, Logits, Params, Statistics
from datadistill.networks import FlatNetwork

LOOKED_AT = 500
"""Images looked at together: bounds the memory beside the result."""


def logits_of(network: FlatNetwork, params: Params, images: Images, statistics: Statistics | None = None) -> Logits:
    """Return the logits of all images, without a graph.

    Args:
        network: The network.
        params: Its weights.
        images: Any number of images, of the same dtype.
        statistics: What batch-norm layers normalise by; absent for that of the images, part by part.
    """
    with torch.no_grad():
        return torch.cat([network(params, part, statistics) for part in images.split(LOOKED_AT)])
