"""The best of many results on the test set: how most published numbers were chosen, under a name that says so."""

import math
from collections.abc import Mapping
from dataclasses import replace

from datadistill.evaluate.protocol import Result


def best_of(candidates: Mapping[int, Result]) -> Result:
    """Return the best of some results as the subject ``peak``: the earliest of equals, with the time of all.

    Args:
        candidates: Results on the test set by iteration, in order.
    """
    iteration, best = max(candidates.items(), key=lambda item: item[1].mean)
    text = f"distilled, best of {len(candidates)} on the test set (iteration {iteration})"
    seconds = math.fsum(result.seconds for result in candidates.values())
    return replace(best, subject="peak", description=text, seconds=round(seconds, 3))
