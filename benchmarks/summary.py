"""From times to results: ratios, shares, a table. Standard library only."""

import math
import statistics
from typing import Any

from benchmarks.cases import REFERENCES, Case
from benchmarks.operations import mtt_operations

Facts = dict[str, Any]
_FLOAT = 4
_WRONG = 1e-2  # of a gradient, relative to float64
_SLACK = 1.1  # of the peak with few steps, plus the kept weights, is "flat"


def summed_up(case: Case, found: dict[str, Facts], rates: Facts) -> Facts:
    """Return the result of one case.

    Args:
        case: What was measured.
        found: Per variant what its worker said; ``turns`` are its rounds.
        rates: Operations per second; empty where none were measured.
    """
    variants = {name: _variant(facts) for name, facts in found.items()}
    right = [name for name in variants if name not in REFERENCES and _right(variants[name], variants[REFERENCES[0]])]
    best = min(right, key=lambda name: variants[name]["seconds"])
    ours, reference, same = (variants[name] for name in (best, *REFERENCES))
    result: Facts = {
        "benchmark": case.benchmark,
        "name": case.name,
        "ratio": reference["seconds"] / ours["seconds"],
        "ratio_same_settings": same["seconds"] / ours["seconds"],
        "ours": best,
        "seconds": ours["seconds"],
        "reference_seconds": reference["seconds"],
        "reference_same_settings_seconds": same["seconds"],
        "peak_bytes": ours["peak_bytes"],
        "reference_peak_bytes": reference["peak_bytes"],
        "reference_same_settings_peak_bytes": same["peak_bytes"],
    }
    if "agreement" in ours:
        result |= {"agreement": ours["agreement"], "reference_agreement": reference["agreement"]}
    if rates:
        operations = mtt_operations(case, best)
        result |= rates | {
            "operations": operations,
            "convolution_share": operations / ours["seconds"] / rates["convolution_rate"],
            "floor_seconds": operations / max(rates.values()),
        }
        result["times_floor"] = ours["seconds"] * max(rates.values()) / operations
    if (original := case.original_seconds) is not None:
        measured = reference.get("training_seconds") or reference["seconds"]
        result |= {"original_seconds_two_cores": original, "reference_over_original": measured / original}
    return result | {"variants": variants}


def _right(facts: Facts, reference: Facts) -> bool:
    """Say whether a variant's gradients, where they were compared, are not wrong: torch's compiler makes such."""
    theirs = reference.get("agreement", {})
    return all(value <= max(_WRONG, 10 * theirs[name]) for name, value in facts.get("agreement", {}).items())


def _variant(facts: Facts) -> Facts:
    """Return one variant's facts, its turns reduced to medians and minima."""
    turns = facts["turns"]
    columns = {key: [turn[key] for turn in turns] for key in turns[0]}
    medians = {key: statistics.median(values) for key, values in columns.items()}
    minima = {f"{key}_min": min(values) for key, values in columns.items()}
    return {**medians, **minima, "turns": columns["seconds"], **{k: v for k, v in facts.items() if k != "turns"}}


def memory(case: Case, network_parameters: int, peaks: dict[str, dict[str, int | None]]) -> Facts:
    """Return the result of a comparison of peaks: per variant by number of student steps."""
    few, many = (int(steps) for steps in peaks["reference"])
    ours = next(peak for name, peak in peaks.items() if name != "reference")
    limit = _SLACK * (ours[str(few)] or 0) + many * network_parameters * _FLOAT
    return {
        "benchmark": case.benchmark,
        "name": f"{case.name} memory",
        "peak_bytes": ours,
        "reference_peak_bytes": peaks["reference"],
        "limit_bytes": limit,
        "flat": (ours[str(many)] or 0) <= limit,
    }


def table(result: Facts) -> str:
    """Return a result for people."""
    hardware = result["hardware"]
    machine = f"{hardware['processor']}, {hardware['cores']} cores, {hardware.get('accelerator', 'no GPU used')}"
    head = f"\n{result['benchmark']} {result['name']} · {result['images']} · {machine}"
    return "\n".join([head, *(_memory_lines(result) if "flat" in result else _time_lines(result))])


def _time_lines(result: Facts) -> list[str]:
    lines = [
        f"{'':26}{'median s':>10}{'min s':>10}{'cpu s':>10}{'kernel s':>10}{'peak GiB':>10}{'warm-up s':>11}"
        "  against float64"
    ]
    reference = result["variants"][REFERENCES[0]]
    for name, facts in result["variants"].items():
        times = (facts.get(key, math.nan) for key in ("seconds", "seconds_min", "processor_seconds", "system_seconds"))
        numbers = (*times, facts["peak_bytes"] / 2**30)
        cells = "".join(f"{number:10.3f}" for number in numbers) + f"{facts['warm_up_seconds']:11.1f}"
        agreement = "".join(f"  {key} {value:.1e}" for key, value in facts.get("agreement", {}).items())
        wrong = "" if _right(facts, reference) else "  WRONG, and does not count"
        lines.append(f"{name:26}{cells}{agreement}{wrong}")
    lines.append(
        f"{result['ours']}: {result['ratio']:.2f} x as fast as the reference as run, "
        f"{result['ratio_same_settings']:.2f} x at the same settings"
    )
    if "convolution_share" in result:
        convolution, matrix = (result[f"{kind}_rate"] / 1e9 for kind in ("convolution", "matrix"))
        lines.append(
            f"{result['convolution_share']:.0%} of the rate of its convolutions alone ({convolution:.0f} GFLOP/s); "
            f"{result['times_floor']:.1f} x the arithmetic floor of {result['floor_seconds']:.3g} s "
            f"({result['operations'] / 1e9:.0f} GFLOP; matrix products run at {matrix:.0f} GFLOP/s)"
        )
    if "reference_over_original" in result:
        lines.append(
            f"reference: {result['reference_over_original']:.2f} x the original's "
            f"{result['original_seconds_two_cores']} s on two cores of an AMD EPYC server"
        )
    load = " to ".join(f"{value:.1f}" for value in result["load_before_and_after"])
    return [*lines, f"load {load}, {result['rounds']} rounds, commit {result['commit']}"]


def _memory_lines(result: Facts) -> list[str]:
    def row(name: str, peaks: dict[str, int | None]) -> str:
        cells = (
            f"{steps} steps {'does not fit' if p is None else f'{p / 2**30:.2f} GiB'}" for steps, p in peaks.items()
        )
        return f"{name:12}{',  '.join(cells)}"

    verdict = "flat" if result["flat"] else "NOT flat"
    return [
        row("ours", result["peak_bytes"]),
        row("reference", result["reference_peak_bytes"]),
        f"{verdict}: the limit is {result['limit_bytes'] / 2**30:.2f} GiB",
    ]
