"""Distances of parameter vectors: their properties, over random vectors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datadistill.losses.distance import normalised_distance

seeds = st.integers(0, 2**32)
sizes = st.integers(1, 40)
factors = st.floats(1e-3, 1e3).flatmap(lambda size: st.sampled_from([size, -size]))


def three(seed, size):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, size, generator=generator, dtype=torch.float64)


@given(seeds, sizes)
def test_one_at_the_start_and_zero_at_the_target(seed, size):
    _, start, target = three(seed, size)
    assert normalised_distance(start, start, target).item() == 1
    assert normalised_distance(target, start, target).item() == 0


@given(seeds, sizes)
def test_is_the_ratio_of_squared_lengths(seed, size):
    end, start, target = three(seed, size)
    expected = ((end - target).norm() / (start - target).norm()) ** 2
    assert normalised_distance(end, start, target).item() == pytest.approx(expected.item(), rel=1e-12)
    assert normalised_distance(end, start, target) >= 0


@given(seeds, sizes, factors, st.floats(-100, 100))
def test_scaling_and_shifting_all_three_changes_nothing(seed, size, factor, shift):
    vectors = three(seed, size)
    plain = normalised_distance(*vectors).item()
    assert normalised_distance(*(factor * vectors)).item() == pytest.approx(plain, rel=1e-9)
    assert normalised_distance(*(vectors + shift)).item() == pytest.approx(plain, rel=1e-6)


@given(seeds, st.integers(2, 40))
def test_the_order_of_the_parameters_does_not_matter(seed, size):
    vectors = three(seed, size)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    assert normalised_distance(*vectors[:, order]).item() == pytest.approx(normalised_distance(*vectors).item())


def test_gradient_is_twice_the_difference_over_the_first_squared_length():
    end, start, target = three(0, 7)
    end.requires_grad_()
    (gradient,) = torch.autograd.grad(normalised_distance(end, start, target), end)
    expected = 2 * (end - target) / (start - target).square().sum()
    torch.testing.assert_close(gradient, expected.detach(), rtol=1e-12, atol=0)
