"""Train experts: a snapshot before the first epoch and after each; a kill costs at most one epoch.

An expert in the making is a folder with one file per epoch. When all are there they become one file
``[epochs+1, p]``, then the sidecar is written, then the folder is removed.
"""

import json
import math
import shutil
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from datadistill.augment import build_augment
from datadistill.core.errors import NonFiniteError
from datadistill.core.randomness import Randomness
from datadistill.core.structure import unstructure
from datadistill.experts.recipe import ExpertRecipe
from datadistill.experts.store import Sidecar, sidecar_path, trajectory_path, write_manifest
from datadistill.networks import FlatNetwork
from datadistill.runtime.atomic import locked, read_tensors, write_json, write_tensors
from datadistill.runtime.executor import Executor, InProcess, SideBySide, check_cancelled
from datadistill.runtime.progress import Reporter, follow
from datadistill.runtime.records import load_record, save_record
from datadistill.training.accuracy import accuracy
from datadistill.training.fit import Examples, Fitted, fit


@dataclass(frozen=True)
class ExpertTask:
    """Everything a worker needs to train experts of one recipe. Picklable.

    Attributes:
        recipe: What is trained.
        folder: ``<store>/<content key>``.
        network: The expert network.
        train: Training images and class indices.
        validation: Held-out images; may be empty.
        compiled: Whether training steps are compiled.
    """

    recipe: ExpertRecipe
    folder: Path
    network: FlatNetwork
    train: Examples
    validation: Examples
    compiled: bool = False


def train_experts(
    task: ExpertTask,
    count: int,
    reporter: Reporter,
    executor: Executor | None = None,
    title: str = "experts (epochs)",
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train the experts ``0 … count−1`` that are not there yet, in any order, and say whether all are there now.

    ``stop`` is asked after every epoch, among several workers after every expert, whether to leave the rest for later.
    """
    write_json(task.folder / "recipe.json", unstructure(task.recipe))
    missing = [j for j in range(count) if not sidecar_path(task.folder, j).exists()]
    for index in set(range(count)) - set(missing):  # left behind by a kill after the sidecar was written
        shutil.rmtree(_partial_path(task.folder, index), ignore_errors=True)
    epochs = task.recipe.training.epochs_run
    with reporter.bar(title, count * epochs, (count - len(missing)) * epochs) as bar:

        def seen(index: int, loss: float) -> bool:
            bar.advance(1, f"network {index + 1}/{count}  loss {loss:.3f}")
            return stop()

        if executor is None or isinstance(executor, InProcess | SideBySide):
            _train_here(task, missing, executor or InProcess(), seen)
        else:
            with follow(bar, lambda: sum(_epochs_done(task, index) for index in missing)):
                for _ in executor.run(_train_whole, [(task, index) for index in missing]):
                    if stop():
                        break
    write_manifest(task.folder)
    return all(sidecar_path(task.folder, j).exists() for j in range(count))


def _epochs_done(task: ExpertTask, index: int) -> int:
    """Return how many epochs of an expert are on disk, whoever trains it."""
    if sidecar_path(task.folder, index).exists():
        return task.recipe.training.epochs_run
    return max(_epochs_on_disk(_partial_path(task.folder, index)), default=0)


def _train_here(task: ExpertTask, missing: list[int], executor: Executor, seen: Callable[[int, float], bool]) -> None:
    """Train experts in this process, as many at once as the executor does, until ``seen`` says to stop."""
    one, stopped = threading.Lock(), threading.Event()

    def train(index: int) -> None:
        if stopped.is_set():
            return
        own = replace(task, network=task.network.twin())  # another thread may be at the same one
        with closing(train_one(own, index)) as losses:  # so that an interrupt here frees its lock at once
            for loss in losses:
                check_cancelled()
                with one:
                    if stopped.is_set() or seen(index, loss):
                        stopped.set()
                        return

    for _ in executor.run(train, missing):
        pass


def _train_whole(job: tuple[ExpertTask, int]) -> None:
    for _ in train_one(*job):
        pass


def train_one(task: ExpertTask, index: int) -> Generator[float, None, None]:
    """Train expert ``index``, going on where an earlier attempt stopped; yield the loss of every epoch.

    Epochs that were already on disk are yielded as well, so that a progress bar stays right. Another
    process that trains the same expert is waited for, and its result taken.

    Raises:
        NonFiniteError: If the training loss is not finite.
    """
    with locked(task.folder / f".trajectory_{index:03d}.lock"):
        sidecar = sidecar_path(task.folder, index)
        if sidecar.exists():
            yield from load_record(Sidecar, sidecar).train_loss
            return
        begun = time.perf_counter()
        rng = Randomness(task.recipe.seed, ("expert", str(index)))
        partial = _partial_path(task.folder, index)
        state, losses, before = _take_up(task, partial, rng)
        yield from losses
        augment = build_augment(task.recipe.augment)
        training = task.recipe.training
        for fitted in fit(task.network, state, task.train, training, augment, rng, compiled=task.compiled):
            state = fitted
            losses.append(state.loss.item())
            if not math.isfinite(losses[-1]):
                raise NonFiniteError(f"expert {index}, epoch {state.epoch}: the loss is {losses[-1]}; try a smaller lr")
            _write_epoch(partial, state, losses, before + time.perf_counter() - begun)
            for epoch in _epochs_on_disk(partial)[:-1]:  # several after a kill between writing and removing
                if epoch not in task.recipe.kept:
                    _epoch_path(partial, epoch).unlink()
            yield losses[-1]
        _finish(task, index, state, losses, before + time.perf_counter() - begun)


def _finish(task: ExpertTask, index: int, state: Fitted, losses: list[float], seconds: float) -> None:
    """Make one file of all epochs, write the sidecar, remove what is no longer needed."""
    partial = _partial_path(task.folder, index)
    kept = task.recipe.kept
    epochs = [read_tensors(_epoch_path(partial, epoch))[0] for epoch in kept]
    rows = torch.stack([epoch["params"] for epoch in epochs])
    statistics = state.statistics
    if isinstance(task.recipe.snapshots, tuple):  # networks to be used at any of these epochs
        statistics = torch.stack([epoch["statistics"] for epoch in epochs])
    content = {"params": rows, "statistics": statistics}
    checksum = write_tensors(trajectory_path(task.folder, index), content)
    sidecar = Sidecar(
        index=index,
        epochs=kept,
        parameters=rows.shape[1],
        checksum=checksum,
        validation_accuracy=_score(task, state) if task.validation else None,
        train_loss=tuple(losses),
        seconds=round(seconds, 3),
    )
    save_record(sidecar_path(task.folder, index), sidecar)
    shutil.rmtree(partial, ignore_errors=True)  # another process may be removing it as well


def _score(task: ExpertTask, state: Fitted) -> float:
    return accuracy(task.network, state.params, state.statistics, task.validation, compiled=task.compiled)


def _take_up(task: ExpertTask, partial: Path, rng: Randomness) -> tuple[Fitted, list[float], float]:
    """Return the state after the last epoch on disk, the losses so far and the seconds spent."""
    device = task.train.images.device
    if not (epochs := _epochs_on_disk(partial)):
        start = Fitted.start(task.network, task.network.initial(rng.stream("initial weights")).to(device))
        _write_epoch(partial, start, [], 0.0)
        return start, [], 0.0
    tensors, metadata = read_tensors(_epoch_path(partial, epochs[-1]))
    losses, seconds = json.loads(metadata["losses"]), float(metadata["seconds"])
    moved = {name: tensor.to(device) for name, tensor in tensors.items()}
    loss = torch.tensor(losses[-1] if losses else torch.nan, device=device)
    state = Fitted(moved["params"], moved["statistics"], moved["velocity"], epochs[-1], loss, moved.get("square"))
    return state, losses, seconds


def _write_epoch(partial: Path, state: Fitted, losses: list[float], seconds: float) -> None:
    tensors = {"params": state.params, "statistics": state.statistics, "velocity": state.velocity}
    if state.square is not None:
        tensors["square"] = state.square
    metadata = {"losses": json.dumps(losses), "seconds": f"{seconds:.3f}"}
    write_tensors(_epoch_path(partial, state.epoch), tensors, metadata)


def _epochs_on_disk(partial: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("epoch_")) for path in partial.glob("epoch_*.safetensors"))


def _partial_path(folder: Path, index: int) -> Path:
    return folder / f"trajectory_{index:03d}.partial"


def _epoch_path(partial: Path, epoch: int) -> Path:
    return partial / f"epoch_{epoch:04d}.safetensors"
