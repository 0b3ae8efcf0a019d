"""Curves: which are drawn, on which scale, and that every number in them is finite."""

import math
import re

import pytest

from datadistill.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, curves


def test_scales_and_order() -> None:
    rows = [
        {"iteration": float(i), "zeta": i - 50.0, "student_lr": 0.01 + 1e-5 * i, "matching_loss": math.exp(-i / 20)}
        for i in range(0, 101, 10)
    ]
    drawn = curves(
        [*rows, {"iteration": 50.0, "validation_accuracy": 0.5}, {"iteration": 9.0, "validation_accuracy": 0.1}]
    )
    assert [curve.title for curve in drawn] == [
        "Matching loss (log scale)",
        "Learned step size",
        "Probe accuracy on validation images (%)",
        "Zeta",
    ]
    assert drawn[2].last == "50.0 %"


def test_values_that_are_not_finite_are_left_out_and_counted() -> None:
    rows = [{"iteration": float(i), "a": math.nan if i == 3 else 1.0 + i} for i in range(5)]
    (curve,) = curves(rows)
    assert curve.note == "1 of 5 values were not finite."
    assert len(curve.marks) == 4


@pytest.mark.parametrize(
    "rows", [[], [{"iteration": 1.0, "a": 2.0}], [{"a": 1.0}], [{"iteration": 1.0, "a": math.nan}] * 3]
)
def test_nothing_to_draw(rows: list[dict[str, float]]) -> None:
    assert curves(rows) == []


def test_noise_is_smoothed_and_large_logs_are_thinned() -> None:
    rows = [{"iteration": float(i), "a": 5.0 + (-1) ** i * 0.5, "b": 0.01 * i} for i in range(5000)]
    noisy, smooth = curves(rows)
    assert noisy.dots and noisy.note.startswith("Dots")
    assert not smooth.dots and not smooth.note
    assert noisy.dots.count("M") <= 500 and noisy.line.count("L") < 400


@pytest.mark.parametrize(
    "values",
    [
        [1.0] * 4,
        [0.0] * 4,
        [-3.0, 2.0, 7.5],
        [1e-12, 3e-12, 2e-12],
        [1e9, 3e9],
        [1e-9, 1e9],
        [0.98, 11.0],
        [0.5, 0.5000001],
        [123456.0, 123457.0],
    ],
)
def test_axes_have_ticks_and_everything_lies_inside(values: list[float]) -> None:
    (curve,) = curves([{"iteration": 10.0 * i, "a": value} for i, value in enumerate(values)])
    assert len(curve.up) >= 2 and len(curve.across) >= 2
    assert len({tick.text for tick in curve.up}) == len(curve.up) <= 9
    assert all(TOP - 0.1 <= tick.at <= HEIGHT - BOTTOM + 0.1 for tick in curve.up)
    numbers = [tuple(map(float, pair.split())) for pair in re.findall(r"[\d.]+ [\d.]+", curve.line)]
    assert len(numbers) == len(values)
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in numbers)
