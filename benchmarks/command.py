"""The command: start the workers, let them take turns, sum up. Standard library only.

This process stays small on purpose: on Linux a child's peak of memory starts at that of its parent.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import summary
from benchmarks.cases import CASES, DIFFERENTIATED, FLAT, REFERENCES, Case

Facts = dict[str, Any]
_ROOT = Path(__file__).resolve().parents[1]
_MEMORY_STEPS = (10, 80)


class WorkerDiedError(RuntimeError):
    """A worker stopped without an answer; what it had to say is on standard error."""


class Process:
    """A worker, seen from here."""

    def __init__(self, case: Case, variant: str, folder: str, device: str) -> None:
        job = {"case": asdict(case), "variant": variant, "folder": folder, "device": device}
        command = [sys.executable, "-m", "benchmarks.worker", json.dumps(job)]
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        pipe = subprocess.PIPE
        environment = {**os.environ, "PYTHONPATH": path}
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self.name = variant

    def ask(self, do: str, **arguments: Any) -> Facts:
        """Send a command; return the answer.

        Raises:
            WorkerDiedError: If there is none.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise WorkerDiedError(f"'{self.name}' died at '{do}' (exit code {self.process.wait()})")
        answer: Facts = json.loads(line)
        return answer

    def stop(self) -> None:
        """Close its standard input and wait until it has ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Bench:
    """A folder with one case's problem, and the workers on it."""

    def __init__(self, case: Case, device: str, data_root: str | None, folder: str) -> None:
        self.case, self.device, self.folder = case, device, folder
        self.source = self.once("prepare", "prepare", data_root=data_root)

    def start(self, variant: str, case: Case | None = None) -> Process:
        """Start a worker."""
        return Process(case or self.case, variant, self.folder, self.device)

    def once(self, variant: str, do: str, **arguments: Any) -> Facts:
        """Ask one thing of a worker of its own."""
        process = self.start(variant)
        try:
            return process.ask(do, **arguments)
        finally:
            process.stop()


def measure(bench: Bench, rounds: int) -> Facts:
    """Return the times of all variants of one case, taken in turns."""
    case = bench.case
    if case.benchmark in DIFFERENTIATED:
        _say(f"{case.name}: the gradient in float64")
        bench.once("float64", "truth")
    found: dict[str, Facts] = {}
    rates: list[Facts] = []
    processes: dict[str, Process] = {}
    load = [os.getloadavg()[0]]
    try:
        for name in (*REFERENCES, *case.variants):
            process = processes[name] = bench.start(name)
            _say(f"{case.name}: warm-up of {name}")
            try:
                found[name] = {**process.ask("warm"), "turns": []}
            except WorkerDiedError as error:
                if name in REFERENCES:
                    raise
                _say(f"left out: {error}")
        if case.benchmark == "mtt" and not case.nearest:  # how many operations ATT takes depends on its end point
            processes["rates"] = bench.start("rates")
        for number in range(1, rounds + 1):
            _say(f"{case.name}: round {number} of {rounds}")
            for name, facts in found.items():
                facts["turns"].append(processes[name].ask("turn", number=number))
            if "rates" in processes:
                rates.append(processes["rates"].ask("rates"))
        for name in found:
            found[name] |= processes[name].ask("end")
    finally:
        for process in processes.values():
            process.stop()
    load.append(os.getloadavg()[0])
    settings = {"rounds": rounds, "load_before_and_after": load, "case": asdict(case)}
    median_rates = {key: statistics.median(rate[key] for rate in rates) for key in (rates[0] if rates else ())}
    return summary.summed_up(case, found, median_rates) | settings | bench.source


def measure_memory(bench: Bench) -> Facts:
    """Return the peaks of memory with few and with many student steps, ours and the reference's."""
    peaks: dict[str, dict[str, int | None]] = {}
    for variant in (FLAT, "reference"):
        peaks[variant] = {}
        free, expected = 1, 0
        for steps in _MEMORY_STEPS:
            if expected > free:
                peaks[variant][str(steps)] = None
                _say(f"{bench.case.name}: {variant} with {steps} steps would not fit into {free / 2**30:.0f} GiB")
                continue
            _say(f"{bench.case.name}: {variant} with {steps} steps")
            facts = _peak(bench, variant, steps)
            peaks[variant][str(steps)] = facts["peak_bytes"]
            free, expected = facts["free_bytes"] + facts["peak_bytes"], facts["peak_bytes"] * _MEMORY_STEPS[-1] // steps
    parameters = bench.source["parameters"]
    return summary.memory(bench.case, parameters, peaks) | {"case": asdict(bench.case)} | bench.source


def _peak(bench: Bench, variant: str, steps: int) -> Facts:
    fields = asdict(bench.case) | {"student_steps": steps}
    process = bench.start(variant, Case(**fields))
    try:
        process.ask("warm")
        process.ask("turn", number=1)
        return process.ask("end")
    finally:
        process.stop()


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__.split("\n")[0])
    parser.add_argument("benchmark", choices=CASES)
    parser.add_argument("--json", action="store_true", help="print one line of JSON per case, the headline last")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every variant (default 5)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument(
        "--data-root",
        default=os.environ.get("DATADISTILL_DATA"),
        help="folder with cifar-10-batches-py; default $DATADISTILL_DATA; without one, seeded noise",
    )
    parser.add_argument("--out", type=Path, help="write results to this file, as JSON; those of other cases in it stay")
    parser.add_argument("--case", help="only the case of this name")
    parser.add_argument("--memory", action="store_true", help="mtt: peak memory with 10 and with 80 student steps")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to see that everything runs")
    return parser.parse_args()


def main() -> int:
    """Run the command; return the exit code."""
    options = _arguments()
    results: list[Facts] = []
    for full in CASES[options.benchmark]:
        if options.case not in (None, full.name):
            continue
        case = full.tiny() if options.tiny else full
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(case, options.device, options.data_root, folder)
            memory = options.memory and case.benchmark == "mtt"
            results.append(measure_memory(bench) if memory else measure(bench, options.rounds))
        print(json.dumps(results[-1]) if options.json else summary.table(results[-1]), flush=True)
        if options.out:
            _write(options.out, results[-1], options.benchmark)
    return 0


def _write(path: Path, result: Facts, benchmark: str) -> None:
    """Add the result of a case to a file, or put it in the place of an older one; in the order of the cases."""
    known = json.loads(path.read_text())["results"] if path.exists() else []
    found = {one["name"]: one for one in (*known, result)}
    order = [case.name for case in CASES[benchmark]]
    results = sorted(found.values(), key=lambda one: order.index(one["name"]) if one["name"] in order else -1)
    path.write_text(json.dumps({"results": results}, indent=1) + "\n")
