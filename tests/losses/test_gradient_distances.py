"""Distances between gradients: equal to loops over rows, and what they do not depend on."""

import pytest
import torch

from datadistill.losses.gradients import GRADIENT_DISTANCES
from reference.class_matching import DISTANCES

SHAPES = ((4, 2, 3, 3), (4,), (5, 2, 2), (3, 6), (3,))


def gradients(seed, shapes=SHAPES):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("name", GRADIENT_DISTANCES)
def test_equals_the_loop_in_value_and_gradient(name):
    chosen, one, other = GRADIENT_DISTANCES[name], gradients(0), gradients(1)
    counts = chosen.counts(SHAPES)
    leaves = [tensor.requires_grad_() for tensor in one]
    expected = DISTANCES[name](leaves, other)
    kept = [[t for t, counted in zip(each, counts, strict=True) if counted] for each in (leaves, other)]
    found = chosen.distance(*kept)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    by_both = [torch.autograd.grad(value, leaves, allow_unused=True) for value in (found, expected)]
    for mine, theirs, counted in zip(*by_both, counts, strict=True):
        assert (mine is not None) == counted
        torch.testing.assert_close(mine, theirs if counted else None, rtol=1e-10, atol=1e-13)


def test_only_ours_leaves_tensors_of_one_dimension_out():
    assert GRADIENT_DISTANCES["ours"].counts(SHAPES) == [True, False, True, True, False]
    assert all(GRADIENT_DISTANCES["mse"].counts(SHAPES) + GRADIENT_DISTANCES["cos"].counts(SHAPES))


@pytest.mark.parametrize("name", GRADIENT_DISTANCES)
def test_a_gradient_that_vanishes_gives_finite_numbers(name):
    zeros = [torch.zeros(3, 4, requires_grad=True)]
    value = GRADIENT_DISTANCES[name].distance(zeros, [torch.ones(3, 4)])
    (gradient,) = torch.autograd.grad(value, zeros)
    assert value.isfinite()
    assert gradient.isfinite().all()
