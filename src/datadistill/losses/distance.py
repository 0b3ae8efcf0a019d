"""Distances between parameter vectors."""

from datadistill.core.arrays import Params, Scalar


def normalised_distance(end: Params, start: Params, target: Params) -> Scalar:
    r"""Return how far ``end`` is from ``target``, relative to where the student started.

    .. math:: \lVert \text{end} - \text{target} \rVert_2^2 \,/\, \lVert \text{start} - \text{target} \rVert_2^2

    1 at the start, 0 at the target; unchanged when all three are scaled or shifted together. The matching
    loss of MTT (Cazenavette et al., CVPR 2022, equation 2).
    """
    return (end - target).square().sum() / (start - target).square().sum()
