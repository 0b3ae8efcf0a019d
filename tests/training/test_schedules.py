"""Step sizes epoch by epoch, and values that are refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistill.training.schedules import TrainingRecipe


def rates(**options):
    recipe = TrainingRecipe(**options)
    return [recipe.lr_at(epoch) for epoch in range(recipe.epochs_run)]


def test_constant():
    assert rates(epochs=3, lr=0.2) == [0.2] * 3
    assert TrainingRecipe(epochs=3).drop_epoch is None


@pytest.mark.parametrize(
    ("epochs", "decay_at", "before"), [(10, 0.5, 5), (5, 0.5, 2), (10, 0.75, 7), (1, 0.5, 0), (10, 1.0, 10)]
)
def test_step_drops_tenfold_after_its_share_of_the_epochs(epochs, decay_at, before):
    found = rates(epochs=epochs, lr=1.0, schedule="step", decay_at=decay_at)
    assert found == pytest.approx([1.0] * before + [0.1] * (epochs - before))


def test_upstream_trains_1001_epochs_of_which_502_come_before_the_drop():
    found = rates(epochs=1000, lr=1.0, schedule="step", extra_epoch=True)
    assert found == pytest.approx([1.0] * 502 + [0.1] * 499)


def test_cosine_falls_from_the_step_size_towards_zero():
    found = rates(epochs=8, lr=0.4, schedule="cosine")
    assert found == pytest.approx([0.2 * (1 + math.cos(math.pi * e / 8)) for e in range(8)])
    assert found[0] == 0.4
    assert found == sorted(found, reverse=True)
    assert found[-1] > 0


@given(
    st.integers(1, 50),
    st.sampled_from(["constant", "step", "cosine"]),
    st.floats(0.01, 1.0),
    st.booleans(),
)
def test_step_sizes_are_positive_and_never_rise(epochs, schedule, decay_at, extra):
    options = {"decay_at": decay_at} if schedule == "step" else {}
    found = rates(epochs=epochs, lr=0.3, schedule=schedule, extra_epoch=extra, **options)
    assert len(found) == epochs + extra
    assert all(0 < rate <= 0.3 for rate in found)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": -0.1},
        {"lr": math.nan},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"weight_decay": -1e-9},
        {"weight_decay": math.nan},
        {"decay_at": 0.0},
        {"decay_at": 1.1},
    ],
    ids=str,
)
def test_impossible_values_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        TrainingRecipe(**{"epochs": 1, **options})


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("option", [{"decay_at": 0.3}, {"reset_momentum": True}], ids=str)
def test_what_belongs_to_a_drop_is_refused_without_one(schedule, option):
    with pytest.raises(ValueError, match="decay_at and reset_momentum are for schedule 'step', and it is"):
        TrainingRecipe(epochs=1, schedule=schedule, **option)
