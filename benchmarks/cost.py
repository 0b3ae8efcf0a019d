"""What an iteration of APM costs for a size of its chunks: memory and seconds, and lines through them.

``python benchmarks/cost.py`` measures every size in a process of its own. The parent uses the standard library only: on
Linux a child's peak of memory starts at that of its parent.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
_ROOT = Path(__file__).resolve().parents[1]
_CHUNKS = (10, 25, 50, 100, 250, 500)
_SIZES: Facts = {"network": "convnet-3", "size": 32, "ipc": 50, "snapshots": 5, "batch": 256, "rounds": 3}
_TINY: Facts = {"network": "convnet-1-w8", "size": 8, "ipc": 50, "snapshots": 2, "batch": 256, "rounds": 1}
_EPOCHS_PER_ITERATION = 250 / 3  # of a student, as published: 250, renewed in every third iteration
_GB = 1e9

PUBLISHED: dict[str, tuple[float, float]] = {
    "APM, chunks of 100": (6.5, 18.2),
    "APM, chunks of 250": (7.0, 11.1),
    "APM, chunks of 500": (13.3, 8.6),
    "TESLA": (34.2, 22.3),
}
"""GB, and seconds per iteration, of ImageNet-1K at 64 x 64 with 50 images per class: the bars of the paper's chart."""


def measured(case: Facts) -> Facts:
    """Run one case in this process: updates of the images, or, where their chunks have no size, epochs of a student."""
    import time

    import torch

    from datadistill.runtime.allocator import keep_freed_memory
    from datadistill.runtime.device import choose_device, occupied_bytes, peak_bytes, set_up, usable_cores

    keep_freed_memory()
    set_up(usable_cores())
    device = choose_device(case["device"])
    turn = _images(case, device) if case["chunk"] else _student(case, device)
    before, times = occupied_bytes(device), []
    for _ in range(1 + case["rounds"]):
        begun = time.perf_counter()
        turn()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begun)
    return {"before_bytes": before, "peak_bytes": peak_bytes(device), "seconds": statistics.median(times[1:])}


def _problem(case: Facts, device: Any) -> Any:
    """Return noise in the shape of a set, with an untrained teacher: neither changes what a step costs."""
    import torch
    import torch.nn.functional as F

    from datadistill.augment import DSA
    from datadistill.core.randomness import Randomness
    from datadistill.data import from_arrays, load_preprocess
    from datadistill.experts import Teacher, TeacherPool
    from datadistill.methods import Problem
    from datadistill.networks import build_network

    classes, rng, shape = 10, Randomness(0), (3, case["size"], case["size"])
    pixels = torch.randint(256, (classes, *shape), dtype=torch.uint8, generator=rng.stream("real")).numpy()
    labels = torch.arange(classes)
    network = build_network(case["network"], shape, classes)
    params = network.initial(rng.stream("teacher")).to(device)
    return Problem(
        data=from_arrays(pixels, labels.numpy(), pixels, labels.numpy(), name="noise").to(device),
        preprocess=load_preprocess({"name": "none"}, {}).to(device),
        network=network,
        augment=DSA(),
        initial_images=torch.randn(classes * case["ipc"], *shape, generator=rng.stream("images")).to(device),
        initial_targets=F.one_hot(labels.repeat_interleave(case["ipc"]), classes).float().to(device),
        teachers=TeacherPool((Teacher(network, params, network.initial_statistics().to(device)),)),
        iterations=1_000_000,
    )


def _images(case: Facts, device: Any) -> Any:
    """Return what updates all images of the set once."""
    from datadistill.core.randomness import Randomness
    from datadistill.methods import APM

    problem, rng = _problem(case, device), Randomness(0).at(1)
    method = APM(chunk=case["chunk"], snapshots=case["snapshots"], student_epochs=case["snapshots"])
    state = method.init(problem, rng)
    state.students.copy_(problem.teachers.teachers[0].params.expand_as(state.students))

    def turn() -> None:
        _, gradients = method.gradient(problem, state, rng)
        state.update(gradients)

    return turn


def _student(case: Facts, device: Any) -> Any:
    """Return what trains a student for an epoch, after a first that compiles where a GPU captures steps."""
    from dataclasses import replace

    import torch.nn.functional as F

    from datadistill.core.randomness import Randomness
    from datadistill.methods import APM
    from datadistill.training.fit import Examples, Fitted, fit

    problem, rng = _problem(case, device), Randomness(0)
    method = APM(student_epochs=1 + case["rounds"], snapshots=1, student_batch=case["batch"])
    logits = problem.teachers.teachers[0].logits_of(problem.initial_images)
    examples = Examples(problem.initial_images, logits, criterion=F.l1_loss)
    start = Fitted.start(problem.network, problem.network.initial(rng.stream("student")).to(device))
    recipe = replace(method.student_training, schedule="constant")
    captured = device.type == "cuda"
    epochs = fit(problem.network, start, examples, recipe, problem.augment, rng, compiled=captured)

    def turn() -> None:
        next(epochs).loss.item()

    return turn


def source(device: str) -> Facts:
    """Return versions, hardware and commit."""
    from datadistill.runtime.device import choose_device
    from datadistill.runtime.provenance import collect_provenance

    found = collect_provenance(0, choose_device(device))
    return {name: getattr(found, name) for name in ("hardware", "versions", "commit", "dirty", "started")}


def fitted(sizes: Facts, chunks: dict[str, Facts]) -> Facts:
    """Return the lines through the measurements: bytes against images in a chunk, seconds against passes."""
    images = [int(name) for name in chunks]
    passes = [(sizes["snapshots"] + 1) * 10 * sizes["ipc"] / chunk for chunk in images]
    return {
        "memory": _line(images, [facts["peak_bytes"] for facts in chunks.values()]),
        "seconds": _line(passes, [facts["seconds"] for facts in chunks.values()]),
    }


def _line(across: list[Any], up: list[float]) -> Facts:
    slope, first = statistics.linear_regression(across, up)
    worst = max(abs(first + slope * x - y) / y for x, y in zip(across, up, strict=True))
    return {"at_zero": first, "slope": slope, "largest_error": worst}


def table(result: Facts) -> str:
    """Return the measurements, the lines through them and the paper's bars, for people."""
    sizes, student, lines = result["sizes"], result["student"], result["lines"]
    hardware = result["hardware"]
    machine = hardware.get("accelerator") or f"{hardware['processor']}, {hardware['cores']} cores"
    rows = [
        f"{10 * sizes['ipc']} images of {sizes['size']} x {sizes['size']} pixels, {sizes['network']}, "
        f"{sizes['snapshots']} students, {machine}, commit {result['commit']}",
        f"{'':30}{'peak GB':>10}{'above start':>13}{'seconds':>10}{'with student':>14}",
    ]
    share = _EPOCHS_PER_ITERATION * student["seconds"]
    named = {f"images, chunks of {name}": facts for name, facts in result["chunks"].items()}
    for name, facts in {**named, f"student, an epoch in {sizes['batch']}s": student}.items():
        above = facts["peak_bytes"] - facts["before_bytes"]
        cells = f"{facts['peak_bytes'] / _GB:10.3f}{above / _GB:13.3f}{facts['seconds']:10.3f}"
        rows.append(f"{name:30}{cells}" + (f"{facts['seconds'] + share:14.2f}" if name in named else ""))
    memory, seconds = lines["memory"], lines["seconds"]
    rows += [
        f"memory  = {memory['at_zero'] / _GB:.3f} GB + {memory['slope'] / 1e6:.3f} MB x images in a chunk "
        f"(to {memory['largest_error']:.0%})",
        f"seconds = {seconds['at_zero']:.3f} + {seconds['slope']:.5f} x passes of a network over a chunk "
        f"(to {seconds['largest_error']:.0%})",
        "",
        "the paper's, on its own machine: ImageNet-1K, 50,000 images of 64 x 64 pixels, 500 of them per iteration",
    ]
    rows += [f"{name:30}{gb:10.1f}{'':23}{each:14.1f}" for name, (gb, each) in PUBLISHED.items()]
    return "\n".join(line.rstrip() for line in rows)


def section(folder: Path) -> str:
    """Return what the page of APM says of the files in ``folder``."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("[!.]*.json"))]
    return "\n".join(f"```text\n{table(result)}\n```\n" for result in found) or "Not measured yet.\n"


def _in_a_process_of_its_own(job: Facts) -> Facts:
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "benchmarks.cost", "--job", json.dumps(job)]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd=_ROOT)
    facts: Facts = json.loads(done.stdout.splitlines()[-1])
    return facts


def main() -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks/cost.py", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--out", type=Path, help="write the result to this file, as JSON")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job is not None:
        print(json.dumps(measured(options.job) if "chunk" in options.job else source(options.job["device"])))
        return 0
    sizes, device = _TINY if options.tiny else _SIZES, {"device": options.device}
    found: dict[str, Facts] = {}
    for chunk in (*_CHUNKS, 0):
        print(f"images, chunks of {chunk}" if chunk else "student", file=sys.stderr, flush=True)
        found[str(chunk)] = _in_a_process_of_its_own({**sizes, **device, "chunk": chunk})
    student = found.pop("0")
    result = {"sizes": sizes, "chunks": found, "student": student, "lines": fitted(sizes, found)}
    result |= _in_a_process_of_its_own(device)
    print(json.dumps(result) if options.json else table(result))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.path[0] = str(_ROOT)
    sys.exit(main())
