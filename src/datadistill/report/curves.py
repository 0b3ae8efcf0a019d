"""Curves of the logged metrics as small drawings: paths, ticks and labels for the page to place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datadistill.report.wording import capital, percent, quantity
from datadistill.runtime.metrics import Row

Values = npt.NDArray[np.float64]

WIDTH, HEIGHT = 460.0, 250.0
"""Units of a drawing."""
LEFT, RIGHT, TOP, BOTTOM = 52.0, 18.0, 10.0, 40.0
_KNOWN = {
    "matching_loss": "Matching loss",
    "gradient_distance": "Distance of the gradients",
    "feature_distance": "Distance of the mean features",
    "student_lr": "Learned step size",
    "validation_accuracy": "Probe accuracy on validation images",
    "test_accuracy": "Accuracy of the kept sets on the test set",
    "test_accuracy_averaged": "Accuracy of the averaged sets on the test set",
}
_NOT_CURVES = ("iteration", "seconds")
_MOST_CURVES, _MOST_DOTS, _MOST_LINE_POINTS, _MOST_MARKS = 12, 500, 400, 30
_NOISY = 0.01
"""Share of the vertical range that the scatter from one value to the next must exceed to be called noise."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """One metric against the iteration, as paths in the units of the drawing.

    Attributes:
        title: What is drawn, with scale and unit.
        last: The last finite value, in words.
        dots: Path of the raw points; empty where the line goes through them.
        line: Path of the line.
        marks: The points of the line, x and y, where they are few.
        across: Ticks of the iterations.
        up: Ticks of the values.
        note: What is not drawn as logged; empty for nothing.
        alt: The curve in words.
    """

    title: str
    last: str
    dots: str
    line: str
    marks: tuple[tuple[float, float], ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    note: str
    alt: str


def curves(rows: Sequence[Row]) -> list[Curve]:
    """Return one curve per logged metric, the well-known ones first; metrics with one value are left out."""
    names = [*_KNOWN, *sorted({name for row in rows for name in row} - set(_KNOWN) - set(_NOT_CURVES))]
    drawn = (_curve(name, rows) for name in names)
    return [curve for curve in drawn if curve is not None][:_MOST_CURVES]


@dataclass(frozen=True)
class _Axis:
    """A range of values laid out between two places of the drawing, with its ticks."""

    low: float
    high: float
    ticks: tuple[Tick, ...]
    span: tuple[float, float]

    def place(self, values: Values) -> Values:
        """Return where values lie in the drawing."""
        start, end = self.span
        return np.asarray(start + (values - self.low) / (self.high - self.low) * (end - start))

    def marks(self) -> tuple[Tick, ...]:
        """Return the ticks with their places in the drawing instead of their values."""
        return tuple(Tick(float(self.place(np.array(tick.at))), tick.text) for tick in self.ticks)


def _curve(name: str, rows: Sequence[Row]) -> Curve | None:
    logged = [(row["iteration"], float(row[name])) for row in rows if name in row and "iteration" in row]
    finite = sorted(pair for pair in logged if math.isfinite(pair[1]))
    if len({iteration for iteration, _ in finite}) < 2:
        return None
    x, y = np.array(finite, dtype=np.float64).T
    share = "accuracy" in name
    log = not share and bool(y.min() > 0 and y.max() / y.min() > 10)
    scaled = np.log10(y) if log else y
    across, up = _iterations(x), _log_axis(scaled) if log else _linear_axis(scaled, share=share)
    smooth, noisy = _smooth(scaled)
    px, py = across.place(x), up.place(scaled)
    title = _KNOWN.get(name, capital(name.replace("_", " ")))
    say = percent if share else quantity
    return Curve(
        title=title + (" (log scale)" if log else " (%)" if share else ""),
        last=say(float(y[-1])),
        dots=_dots(px, py) if noisy else "",
        line=_line(px, up.place(smooth)),
        marks=tuple(zip(px.tolist(), py.tolist(), strict=True)) if len(x) <= _MOST_MARKS else (),
        across=across.marks(),
        up=up.marks(),
        note=_note(len(logged) - len(finite), len(logged), noisy=noisy),
        alt=f"{title}: {say(float(y[0]))} at iteration {x[0]:,.0f}, {say(float(y[-1]))} at iteration {x[-1]:,.0f}; "
        f"smallest {say(float(y.min()))}, largest {say(float(y.max()))}.",
    )


def _smooth(values: Values) -> tuple[Values, bool]:
    """Return a centred moving average and true, or the values and false where they do not need one."""
    n = len(values)
    if n <= _MOST_MARKS:
        return values, False
    window = np.ones(_window(n))
    average = np.convolve(values, window, "same") / np.convolve(np.ones(n), window, "same")
    jitter = float(np.median(np.abs(np.diff(values, 2)))) / 1.65  # the deviation of independent normal noise
    noisy = jitter > _NOISY * float(np.ptp(values))
    return (average, True) if noisy else (values, False)


def _window(values: int) -> int:
    """Return how many values are averaged: an odd number, about a twentieth of them, at least five."""
    return 2 * max(2, values // 40) + 1


def _note(lost: int, logged: int, *, noisy: bool) -> str:
    parts = [f"dots: logged values; line: average over {_window(logged - lost)} of them"] if noisy else []
    parts += [f"{lost:,} of {logged:,} values were not finite"] if lost else []
    return f"{capital('; '.join(parts))}." if parts else ""


def _iterations(x: Values) -> _Axis:
    low, high = float(x.min()), float(x.max())
    ticks = tuple(Tick(t, f"{t:,.0f}") for t in _steps(low, high, 4) if t == round(t))
    return _Axis(low, high, ticks, (LEFT, WIDTH - RIGHT))


def _linear_axis(values: Values, *, share: bool) -> _Axis:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    low, high = (max(0.0, low - margin) if low >= 0 else low - margin), high + margin
    ticks = _steps(low, high, 4)
    shown = [100 * tick if share else tick for tick in ticks]
    return _Axis(low, high, tuple(map(Tick, ticks, _labels(shown))), (HEIGHT - BOTTOM, TOP))


def _labels(ticks: Sequence[float]) -> list[str]:
    """Return evenly spaced numbers with just the digits that tell them apart."""
    largest, place = max(map(abs, ticks)), math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9)
    if largest < 1e6 and place >= -8:
        return [f"{tick:,.{max(0, -place)}f}" for tick in ticks]
    return [_short(f"{tick:.{max(0, math.floor(math.log10(largest)) - place)}e}") for tick in ticks]


def _short(scientific: str) -> str:
    return scientific.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def _log_axis(exponents: Values) -> _Axis:
    margin = 0.06 * float(np.ptp(exponents))
    low, high = float(exponents.min()) - margin, float(exponents.max()) + margin
    decades = range(math.floor(low), math.ceil(high) + 1)
    every = max(1, math.ceil(len(decades) / 6))
    factors = (1, 2, 5) if high - low < 2 else (1, 3) if high - low < 3 else (1,)
    marks = [d + math.log10(f) for d in decades if d % every == 0 for f in factors]
    ticks = tuple(Tick(mark, _power(mark)) for mark in marks if low <= mark <= high)
    return _Axis(low, high, ticks, (HEIGHT - BOTTOM, TOP))


def _power(exponent: float) -> str:
    if -4 <= exponent < 6:
        return f"{10**exponent:,.{max(0, -math.floor(exponent + 1e-9))}f}"
    return _short(f"{10**exponent:.0e}")


def _steps(low: float, high: float, wanted: int) -> list[float]:
    """Return round numbers between ``low`` and ``high``, about ``wanted`` of them and at least two."""
    raw = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(raw))
    step = unit * min((1, 2, 5, 10), key=lambda multiple: abs(math.log(multiple * unit / raw)))
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _dots(x: Values, y: Values) -> str:
    """Return a path of points: strokes of no length with round ends."""
    every = max(1, math.ceil(len(x) / _MOST_DOTS))
    return "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x[::every], y[::every], strict=True))


def _line(x: Values, y: Values) -> str:
    """Return a path through the points, thinned evenly, its ends kept."""
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_LINE_POINTS)).round().astype(int))
    return "M" + "L".join(f"{x[i]:.1f} {y[i]:.1f}" for i in rows)
