"""A made-up but complete run directory: what the stages would have written, in a second."""

import math
from pathlib import Path

import torch

from datadistill.data.preprocess import Normalise
from datadistill.evaluate.protocol import PROTOCOLS, Evaluation, Protocol, Result, named
from datadistill.runtime.metrics import append_rows
from datadistill.runtime.records import ExpertsUsed, Provenance, StageStatus, Status, save_record
from datadistill.runtime.rundir import RunDir
from datadistill.synthetic.artifact import Artifact, Card, SyntheticSet, save_artifact
from datadistill.synthetic.pictures import save_grid

DIGITS = tuple("0123456789")
CONFIG = """\
seed = 3
dataset = "digits"
validation = 100
[method.mtt]
image_lr = 1e3
student_steps = 20
[evaluate]
networks = 5
"""


def artifact_of(images: torch.Tensor, ipc: int, classes: tuple[str, ...], iteration: int = 500) -> Artifact:
    """Return an artifact whose images are ``images``, given in [0, 1]."""
    channels = images.shape[1]
    preprocess = Normalise(((0.5,) * channels, (0.25,) * channels))
    labels = torch.arange(len(classes)).repeat_interleave(ipc)
    card = Card(
        dataset="digits",
        classes=classes,
        shape=(channels, images.shape[2], images.shape[3]),
        ipc=ipc,
        preprocess=preprocess.description,
        network="convnet-3",
        augment="dsa",
        method="mtt",
        paper="Cazenavette et al. 2022",
        iteration=iteration,
        trained_by={"experts": "00ff00ff00ff00ff"},
        data_licence="CC BY 4.0",
        data_split="360 of 1797 images as test",
    )
    targets = torch.nn.functional.one_hot(labels, len(classes)).float()
    return Artifact(SyntheticSet(preprocess.from_pixels(images), targets, torch.tensor([0.0213])), card, preprocess)


def evaluation_of(name: str, ipc: int, classes: int, mean: float = 0.83) -> Evaluation:
    """Return an evaluation with four subjects; with the best and the last one under a protocol that chooses."""

    def result(subject: str, images: int, center: float, draws: int, description: str) -> Result:
        spread = tuple(tuple(center + 0.01 * math.sin(5 * i + j) for j in range(5)) for i in range(draws))
        return Result.of(subject, description, images, spread, 0.0213, 12.5)

    n = ipc * classes
    results = {
        "full": result("full", 1257, 0.979, 1, "the full training set"),
        "random": result("random", n, 0.612, 5, "random real images, five draws"),
        "selected": result("selected", n, mean + 0.01, 1, "synthetic set, best on validation"),
        "synthetic": result("synthetic", n, mean, 1, "synthetic set, last iterate"),
    }
    protocol, candidates = named(name if name in PROTOCOLS else "default", Protocol()), {}
    if protocol.peak:
        candidates = {100: mean - 0.05, 400: mean + 0.02, 500: mean}
        best = result("peak", n, mean + 0.02, 1, "distilled, best of 3 on the test set (iteration 400)")
        results = {"peak": best, "synthetic": results["synthetic"]}
    return Evaluation(
        name=name,
        protocol=protocol,
        dataset="digits",
        network="convnet-3",
        split="360 test images",
        results=results,
        candidates=tuple(candidates.items()),
    )


def _metrics(iterations: int) -> list[dict[str, float]]:
    noise = torch.randn(iterations // 10 + 1, generator=torch.Generator().manual_seed(0)).tolist()
    rows = []
    for i in range(0, iterations + 1, 10):
        row = {
            "iteration": float(i),
            "matching_loss": math.exp(-4 * i / iterations + 0.12 * noise[i // 10]),
            "student_lr": 0.01 + 0.0113 * (1 - math.exp(-3 * i / iterations)),
            "seconds": 0.2 * i,
        }
        if i % (iterations // 10) == 0:
            row["validation_accuracy"] = 0.4 + 0.43 * (1 - math.exp(-4 * i / iterations))
        rows.append(row)
    rows[3]["matching_loss"] = math.nan
    return rows


def write_run(
    root: Path,
    images: torch.Tensor | None = None,
    ipc: int = 1,
    classes: tuple[str, ...] = DIGITS,
    *,
    frames: int = 4,
    only_config: bool = False,
    protocols: tuple[str, ...] = ("default",),
    iterations: int = 500,
    selected: int | None = None,
) -> RunDir:
    """Write a run directory below ``root`` as the stages would have."""
    run = RunDir(root)
    root.mkdir(parents=True)
    run.config.write_text(CONFIG)
    if only_config:
        return run
    if images is None:
        images = torch.rand(ipc * len(classes), 1, 8, 8, generator=torch.Generator().manual_seed(1))
    save_artifact(run.synthetic, artifact_of(images, ipc, classes, iterations))
    save_artifact(run.variant("selected"), artifact_of(images.sqrt(), ipc, classes, selected or iterations * 4 // 5))
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(2))
    for frame in range(frames):
        share = frame / max(1, frames - 1)
        path = run.frames / f"iteration_{round(iterations * share):06d}.png"
        save_grid(path, share * images + (1 - share) * noise, columns=ipc)
    append_rows(run.metrics, _metrics(iterations))
    for protocol in protocols:
        save_record(run.evaluation(protocol), evaluation_of(protocol, ipc, len(classes)))
    _write_records(run)
    return run


def _write_records(run: RunDir) -> None:
    stages = {
        "experts": StageStatus(state="done", seconds=31.4, peak_bytes=900 << 20),
        "distill": StageStatus(state="done", seconds=402.0, peak_bytes=3 << 30, resumed_from="iteration 120"),
        "evaluate": StageStatus(state="done", seconds=77.7, peak_bytes=1 << 30),
        "report": StageStatus(state="running"),
    }
    save_record(run.status_file, Status(stages=stages))
    checksums = {"trajectory_000.safetensors": "ab" * 16, "trajectory_001.safetensors": "cd" * 16}
    save_record(run.experts, ExpertsUsed(content_key="00ff00ff00ff00ff", store="runs/experts", checksums=checksums))
    provenance = Provenance(
        command="datadistill run digits-mtt --out runs/tiny --set method.image_lr=1e3",
        seed=3,
        started="2025-01-02T03:04:05+01:00",
        commit="0123456789abcdef0123456789abcdef01234567",
        dirty=True,
        versions={"python": "3.11.9", "datadistill": "0.1.0", "torch": "2.13.0"},
        hardware={"processor": "Some CPU @ 2.0 GHz", "cores": "2", "memory_gib": "8", "device": "cpu"},
    )
    save_record(run.provenance, provenance)
