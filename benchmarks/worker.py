"""A process that waits for commands on standard input, one line of JSON each, and answers with one.

Its single argument says what it is: ``{"case": …, "variant": …, "folder": …, "device": …}``.
"""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import problem
from benchmarks.cases import Case
from benchmarks.job import Job
from benchmarks.rates import Convolutions
from benchmarks.variants import Variant, build, exact
from datadistill.runtime.allocator import keep_freed_memory
from datadistill.runtime.device import choose_device, free_bytes, peak_bytes, set_up, usable_cores
from datadistill.runtime.provenance import collect_provenance

Facts = dict[str, Any]
_TRUTH = "truth.pt"
_COMPARED = 3  # gradients per variant
_RATE_SECONDS = 0.5  # of repetitions that one rate is taken from


class Worker:
    """The commands: public methods, by name."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._variant: Variant | None = None
        self._convolutions: Convolutions | None = None

    def prepare(self, data_root: str | None) -> Facts:
        """Write the problem; return what its images are, and versions, hardware and commit."""
        words = problem.prepare(self.job.case, data_root, self.job.folder)
        source = collect_provenance(0, self.job.device)
        facts = {name: getattr(source, name) for name in ("hardware", "versions", "commit", "dirty", "started")}
        return {"images": words, "parameters": problem.flat_network(self.job.case).parameter_count, **facts}

    def truth(self) -> Facts:
        """Write some gradients of the first images by the reference formulation in float64."""
        loop = exact(self.job)
        gradients = [tuple(value.clone() for value in loop.gradient(-draw)) for draw in range(_COMPARED)]
        torch.save(gradients, self.job.folder / _TRUTH)
        return {}

    def warm(self) -> Facts:
        """Set the variant up and take turn 0; say before that how far its gradients are from those in float64."""
        begun = time.perf_counter()
        self._variant = build(self.job)
        facts: Facts = {}
        if (truth := self.job.folder / _TRUTH).exists():
            facts["agreement"] = _agreement(self._variant, torch.load(truth))
        self._variant.turn(0)
        self.job.synchronise()
        return {"warm_up_seconds": time.perf_counter() - begun, **facts}

    def turn(self, number: int) -> Facts:
        """Take one turn; return its seconds by the clock, of the processor and of the kernel, and what else it says."""
        assert self._variant is not None
        before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        result = self._variant.turn(number)
        self.job.synchronise()
        seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
        kernel = after.ru_stime - before.ru_stime
        facts = {
            "seconds": seconds,
            "processor_seconds": after.ru_utime - before.ru_utime + kernel,
            "system_seconds": kernel,
        }
        return {**facts, **(result if isinstance(result, dict) else {})}

    def rates(self) -> Facts:
        """Return operations per second of the network's convolutions and of a matrix product."""
        self._convolutions = work = self._convolutions or Convolutions(self.job.case, self.job.device)
        return {
            "convolution_rate": self._rate(work.run, work.operations),
            "matrix_rate": self._rate(work.multiply, work.product_operations),
        }

    def end(self) -> Facts:
        """Return the peak of memory so far, what is free now, and the threads."""
        device = self.job.device
        return {"peak_bytes": peak_bytes(device), "free_bytes": free_bytes(device), "threads": torch.get_num_threads()}

    def _rate(self, work: Callable[[], None], operations: int) -> float:
        """Return operations per second: the median of repetitions; on a GPU of twenty queued at once."""
        work()
        self.job.synchronise()
        queued = 20 if self.job.device.type == "cuda" else 1
        times: list[float] = []
        while sum(times) < _RATE_SECONDS or len(times) < 3:
            begun = time.perf_counter()
            for _ in range(queued):
                work()
            self.job.synchronise()
            times.append((time.perf_counter() - begun) / queued)
        return operations / statistics.median(times)


def _agreement(variant: Any, truth: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Return the median distance of the variant's gradients from those in float64, of images and step size.

    A median, because a single float32 gradient is as near as the ReLUs happen to fall.
    """
    found = [variant.gradient(-draw) for draw in range(len(truth))]
    distances = [tuple(map(_distance, *pair)) for pair in zip(found, truth, strict=True)]
    columns = zip(("images", "student_lr"), zip(*distances, strict=True), strict=True)
    return {name: statistics.median(column) for name, column in columns}


def _distance(found: Tensor, exact: Tensor) -> float:
    """Return the distance of ``found`` from ``exact``, relative to the latter."""
    a, b = found.double().flatten(), exact.double().flatten()
    return float((a - b).norm() / b.norm())


def main() -> None:
    given = json.loads(sys.argv[1])
    device = choose_device(given["device"])
    job = Job(Case(**given["case"]), given["variant"], Path(given["folder"]), device)
    if job.variant != "reference":
        keep_freed_memory()
        set_up(usable_cores())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed must not end up among the answers
    worker = Worker(job)
    for line in sys.stdin:
        command = json.loads(line)
        facts = getattr(worker, command.pop("do"))(**command)
        answers.write(json.dumps(facts) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
