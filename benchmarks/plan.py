"""Peak memory that the plan predicts beside the peak that a fresh process measures: ``python benchmarks/plan.py``.

Every case is a process of its own: interpreter, a data set, one problem of trajectory matching, two iterations. The
parent uses the standard library only: on Linux a child's peak of memory starts at that of its parent.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
_ROOT = Path(__file__).resolve().parents[1]
_ALLOWED = 0.2

_ADJOINT: Facts = {"strategy": "adjoint", "compiled": False, "steps": 20, "ipc": 1}
_OTHERS: dict[str, Facts] = {
    "4 blocks, 64 pixels adjoint": _ADJOINT | {"network": "convnet-4", "size": 64, "steps": 4, "real_images": 9000},
    "4 blocks, 64 pixels stored": _ADJOINT
    | {"network": "convnet-4", "size": 64, "steps": 4, "real_images": 9000, "strategy": "stored"},
    "4 blocks, 64 pixels compiled": _ADJOINT
    | {"network": "convnet-4", "size": 64, "steps": 4, "real_images": 9000, "compiled": True},
    "textures, 2 windows each": _ADJOINT | {"texture": 2, "steps": 4},
    "vgg11 adjoint": _ADJOINT | {"network": "vgg11", "steps": 4},
    "width 64, ipc10 adjoint": _ADJOINT | {"network": "convnet-3-w64", "ipc": 10, "steps": 3},
    "width 64, ipc50 batch_syn 250 compiled": _ADJOINT
    | {"network": "convnet-3-w64", "ipc": 50, "batch_syn": 250, "steps": 3, "compiled": True},
}
"""Cases that no factor of the estimate was fitted to."""

CASES: dict[str, Facts] = {
    "ipc1 adjoint": _ADJOINT,
    "ipc1 adjoint compiled": _ADJOINT | {"compiled": True},
    "ipc1 stored": _ADJOINT | {"strategy": "stored"},
    "ipc1 stored compiled": _ADJOINT | {"strategy": "stored", "compiled": True},
    "ipc1 keep_every 10": _ADJOINT | {"steps": 50, "keep_every": 10},
    "ipc10 micro_batch 25": _ADJOINT | {"ipc": 10, "steps": 3, "micro_batch": 25},
    "ipc10 batch_syn 20": _ADJOINT | {"ipc": 10, "steps": 10, "batch_syn": 20},
    "ipc10 adjoint": _ADJOINT | {"ipc": 10, "steps": 3},
    "ipc10 stored": _ADJOINT | {"ipc": 10, "steps": 4, "strategy": "stored"},
    "ipc10 adjoint compiled": _ADJOINT | {"ipc": 10, "steps": 3, "compiled": True},
    "ipc10 stored compiled": _ADJOINT | {"ipc": 10, "steps": 4, "strategy": "stored", "compiled": True},
    **{name: {**case, "fitted": False} for name, case in _OTHERS.items()},
}
"""ConvNet-3 of width 128 on 32 x 32 pixels, unless a case says otherwise."""

TINY = {"network": "convnet-1-w8", "size": 8, "steps": 2, "real_images": 100}


def measured(case: Facts) -> Facts:
    """Run one case in this process; return what was there before, what was predicted, and the peak."""
    import torch

    from datadistill.augment import DSA
    from datadistill.core.randomness import Randomness
    from datadistill.networks import build_network
    from datadistill.runtime.allocator import keep_freed_memory
    from datadistill.runtime.device import peak_bytes, resident_bytes, set_up, usable_cores
    from datadistill.stages.memory import Settings, estimate, peak
    from datadistill.synthetic.texture import Texture
    from datadistill.unroll import Unroll, draw_steps

    keep_freed_memory()
    set_up(usable_cores())
    size = case.get("size", 32)
    cpu, shape, classes, rng = torch.device("cpu"), (3, size, size), 10, Randomness(0)
    network = build_network(case.get("network", "convnet-3"), shape, classes)
    texture = Texture(canvas=2, samples=case["texture"]) if "texture" in case else None
    real = torch.randint(
        256, (case.get("real_images", 50_000), *shape), dtype=torch.uint8, generator=rng.stream("real")
    )
    count = classes * case["ipc"]
    images = real[:count].float() / 255
    images = images if texture is None else texture.assemble(images)
    targets = torch.eye(classes).repeat_interleave(case["ipc"], 0)
    batch = min(case.get("batch_syn", count), count) * case.get("texture", 1)
    need = estimate(network, shape, classes, batch=batch, steps=case["steps"])
    settings = Settings(
        **{key: case[key] for key in ("strategy", "compiled", "keep_every", "micro_batch") if key in case}
    )
    before = resident_bytes()
    predicted = before + peak(need, settings)
    engine = Unroll(network, DSA(), **{key: value for key, value in vars(settings).items()})
    start = network.initial(rng.stream("start"))
    for number in range(2):
        steps = draw_steps(
            rng.at(number),
            DSA(),
            images=count,
            steps=case["steps"],
            batch_size=case.get("batch_syn"),
            device=cpu,
            texture=texture,
        )
        engine(start, images, targets, torch.full((1,), 0.01), steps, lambda end: (end - start).square().sum())
    facts = {"before_bytes": before, "peak_bytes": peak_bytes(cpu), "predicted_bytes": predicted}
    return facts | {"need": vars(need), "case": case}


def source() -> Facts:
    """Return versions, hardware and commit."""
    import torch

    from datadistill.runtime.provenance import collect_provenance

    found = collect_provenance(0, torch.device("cpu"))
    return {name: getattr(found, name) for name in ("hardware", "versions", "commit", "dirty", "started")}


def _in_a_process_of_its_own(job: Facts) -> Facts:
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "benchmarks.plan", "--job", json.dumps(job)]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd=_ROOT)
    facts: Facts = json.loads(done.stdout.splitlines()[-1])
    return facts


def main() -> int:
    """Run the command; return the exit code: 1 where a prediction is further off than allowed."""
    parser = argparse.ArgumentParser(prog="benchmarks/plan.py", description=__doc__.split("\n")[0])
    parser.add_argument("--case", choices=CASES, help="only the case of this name")
    parser.add_argument("--out", type=Path, help="write all results to this file, as JSON")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job is not None:
        print(json.dumps(measured(options.job["case"]) if "case" in options.job else source()))
        return 0
    facts, results, worst = _in_a_process_of_its_own({}), {}, 0.0
    for name, case in CASES.items():
        if options.case not in (None, name):
            continue
        found = results[name] = _in_a_process_of_its_own({"case": case | (TINY if options.tiny else {})})
        ratio = found["predicted_bytes"] / found["peak_bytes"]
        worst = max(worst, abs(ratio - 1))
        gib = {key: found[f"{key}_bytes"] / 2**30 for key in ("before", "predicted", "peak")}
        words = "  ".join(f"{key} {value:6.3f}" for key, value in gib.items())
        print(f"{name:38} GiB: {words}  predicted / measured {ratio:.2f}", flush=True)
        if options.out:
            options.out.write_text(json.dumps(facts | {"results": results}, indent=1) + "\n")
    return int(worst > _ALLOWED and not options.tiny)


if __name__ == "__main__":
    sys.path[0] = str(_ROOT)
    sys.exit(main())
