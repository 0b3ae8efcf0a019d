"""What a student trains on, decided beforehand."""

import pytest
import torch

from datadistill.augment import DSA, NoAugment
from datadistill.core.randomness import Randomness
from datadistill.unroll import draw_steps

CPU = torch.device("cpu")


def plan(images=10, steps=8, batch_size=None, augment=None, seed=0):
    return draw_steps(
        Randomness(seed), augment or NoAugment(), images=images, steps=steps, batch_size=batch_size, device=CPU
    )


@pytest.mark.parametrize("batch_size", [None, 10, 11, 1000])
def test_the_whole_set_is_not_indexed(batch_size):
    steps = plan(batch_size=batch_size)
    assert steps.rows == (None,) * 8
    assert len(steps) == len(steps.draws) == 8


@pytest.mark.parametrize(
    ("images", "size", "expected"),
    [(10, 4, [2, 4, 4, 2, 4, 4, 2, 4]), (8, 4, [4] * 8), (3, 1, [1] * 8), (9, 8, [1, 8] * 4)],
)
def test_batches_cut_permutations_with_the_remainder_first(images, size, expected):
    """As upstream: ``indices_chunks.pop()`` takes the last chunk, the short one."""
    rows = plan(images, 8, size).rows
    assert [len(row) for row in rows] == expected
    per_pass = -(-images // size)
    for first in range(0, 8 - per_pass + 1, per_pass):
        assert sorted(torch.cat(rows[first : first + per_pass]).tolist()) == list(range(images))


def test_passes_differ():
    rows = plan(10, 20, 5).rows
    passes = {tuple(torch.cat(rows[i : i + 2]).tolist()) for i in range(0, 20, 2)}
    assert len(passes) == 10


def test_depends_on_the_randomness_only():
    first, again, other = (plan(10, 6, 4, DSA(), seed) for seed in (0, 0, 1))
    assert all(torch.equal(*pair) for pair in zip(first.rows, again.rows, strict=True))
    assert torch.equal(first.draws.uniforms, again.draws.uniforms)
    assert not all(torch.equal(*pair) for pair in zip(first.rows, other.rows, strict=True))
    assert not torch.equal(first.draws.uniforms, other.draws.uniforms)


def test_the_order_does_not_depend_on_the_augmentation():
    pairs = zip(plan(10, 6, 4).rows, plan(10, 6, 4, DSA()).rows, strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_every_batch_finds_draws_for_its_rows():
    steps = plan(10, 6, 4, DSA())
    images = torch.ones(10, 1, 8, 8)
    for t, rows in enumerate(steps.rows):
        assert DSA().apply(images[rows], steps.draws[t].rows(len(rows))).shape[0] == len(rows)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="batch_size"):
        plan(batch_size=0)
