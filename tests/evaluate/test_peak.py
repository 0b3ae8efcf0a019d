"""The best of many test results, and what it says about itself."""

from dataclasses import replace

import pytest

from datadistill.evaluate.peak import best_of
from datadistill.evaluate.protocol import Result


def result(name, *scores, seconds=1.0):
    return Result.of(name, "in words", 10, (scores,), 0.01, seconds)


def test_the_best_has_its_own_accuracies_and_the_time_of_all():
    candidates = {
        (100, "synthetic"): result("iteration_000100", 0.5, 0.6),
        (1300, "synthetic"): result("iteration_001300", 0.7, 0.8, seconds=2.5),
        (5000, "synthetic"): result("synthetic", 0.6, 0.6),
    }
    best = best_of(candidates)
    text = "distilled, best of 3 on the test set (iteration 1300)"
    assert best == replace(candidates[1300, "synthetic"], subject="peak", description=text, seconds=4.5)


@pytest.mark.parametrize("scores", [(0.5, 0.7, 0.7), (0.1, 0.7, 0.3)])
def test_of_equals_the_earliest_is_taken(scores):
    found = best_of({(10 * place, "synthetic"): result("any", score) for place, score in enumerate(scores)})
    assert found.description.endswith("(iteration 10)")


def test_one_candidate_is_its_own_peak():
    assert best_of({(20, "synthetic"): result("synthetic", 0.4)}).mean == 0.4


def test_a_variant_that_is_best_is_named():
    found = best_of({(20, "synthetic"): result("any", 0.4), (20, "averaged"): result("any", 0.5)})
    assert found.description == "distilled, best of 2 on the test set (iteration 20, averaged)"
