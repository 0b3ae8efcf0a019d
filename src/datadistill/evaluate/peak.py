"""The best of many results on the test set: how most published numbers were chosen, under a name that says so."""

import math
from collections.abc import Mapping
from dataclasses import replace

from datadistill.evaluate.protocol import Result

Candidate = tuple[int, str]
"""Iteration of a set, and which set of it: ``synthetic``, or the name of a variant."""


def best_of(candidates: Mapping[Candidate, Result]) -> Result:
    """Return the best of some results as the subject ``peak``: the first of equals, with the time of all.

    Args:
        candidates: Results on the test set, the earliest first.
    """
    (iteration, kind), best = max(candidates.items(), key=lambda item: item[1].mean)
    which = f"iteration {iteration}" + ("" if kind == "synthetic" else f", {kind}")
    text = f"distilled, best of {len(candidates)} on the test set ({which})"
    seconds = math.fsum(result.seconds for result in candidates.values())
    return replace(best, subject="peak", description=text, seconds=round(seconds, 3))
