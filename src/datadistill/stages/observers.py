"""What looks on while a set is distilled: the log, the probe on validation data, pictures, variants, checkpoints.

Observers change neither the state nor a random stream, so a run with other observers gives the same set.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from datadistill.core.arrays import Images
from datadistill.core.errors import CorruptFileError, NonFiniteError
from datadistill.core.randomness import Randomness
from datadistill.data import Preprocess
from datadistill.distill import Progress, check_state
from datadistill.evaluate.protocol import Protocol
from datadistill.evaluate.run import Trial, run_trial, step_size, synthetic_examples
from datadistill.evaluate.starts import Start
from datadistill.networks import FlatNetwork
from datadistill.runtime.atomic import read_tensors, write_tensors
from datadistill.runtime.executor import Executor, InProcess
from datadistill.runtime.metrics import append_rows
from datadistill.runtime.progress import Bar
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.pictures import save_grid
from datadistill.synthetic.texture import Texture
from datadistill.training.fit import Examples


@dataclass
class Log:
    """Appends what was read from the device to ``metrics.jsonl`` and moves the progress bar."""

    path: Path
    bar: Bar
    note: str = ""

    def __call__(self, progress: Progress) -> None:
        """Write new rows."""
        if progress.metrics:
            append_rows(self.path, progress.metrics)
            last = progress.metrics[-1]
            self.note = "  ".join(f"{name} {value:.4g}" for name, value in last.items() if name != "iteration")
        self.bar.advance(1, self.note)


@dataclass
class Probe:
    """Trains a few networks on the set every so often and keeps the set that did best on validation data.

    Attributes:
        every: Iterations between two probes.
        network: What is trained.
        protocol: How, and how many: always the same networks.
        augment: With which augmentation.
        validation: Held-out real images.
        rng: Where initial weights come from.
        path: ``metrics.jsonl``.
        executor: Runs the trainings.
        compiled: Whether their steps are compiled.
        texture: How the set is seen, where its images are canvases.
        starts: Where the networks start from; absent for at random.
        accuracy: Best so far; NaN before the first probe.
        iteration: When that was.
        best: The set of that iteration.
    """

    every: int
    network: FlatNetwork
    protocol: Protocol
    augment: str
    validation: Examples
    rng: Randomness
    path: Path
    executor: Executor = field(default_factory=InProcess)
    compiled: bool = False
    texture: Texture | None = None
    starts: tuple[Start, ...] | None = None
    accuracy: float = -1.0
    iteration: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, progress: Progress) -> None:
        """Probe, if it is time."""
        if progress.iteration % self.every:
            return
        synthetic = progress.export()
        score = self.score(synthetic)
        append_rows(self.path, [{"iteration": progress.iteration, "validation_accuracy": score}])
        if score > self.accuracy:
            self.accuracy, self.iteration, self.best = score, progress.iteration, synthetic.tensors()

    def score(self, synthetic: SyntheticSet) -> float:
        """Return the mean validation accuracy of networks trained on ``synthetic``."""
        training = self.protocol.training(step_size(self.protocol, synthetic))
        examples = synthetic_examples(synthetic, self.texture, self.protocol)
        trials = [
            Trial(
                self.network,
                examples,
                self.validation,
                training,
                self.augment,
                self.rng.child("network", j),
                self.compiled,
                self.starts[j] if self.starts is not None else None,
            )
            for j in range(self.protocol.networks)
        ]
        scores = {position: found[0] for position, found in self.executor.run(run_trial, trials)}
        return sum(scores[position] for position in range(len(trials))) / len(trials)

    def tensors(self) -> dict[str, Tensor]:
        """Return the best set so far, its score and its iteration."""
        facts = {"accuracy": torch.tensor(self.accuracy).double(), "iteration": torch.tensor(self.iteration)}
        return {**facts, **{f"best.{name}": tensor for name, tensor in self.best.items()}}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what :meth:`tensors` returned."""
        self.accuracy, self.iteration = tensors["accuracy"].item(), int(tensors["iteration"].item())
        self.best = {name[5:]: tensor for name, tensor in tensors.items() if name.startswith("best.")}


@dataclass
class Frames:
    """Keeps a picture of the images every so often."""

    folder: Path
    every: int
    columns: int
    preprocess: Preprocess

    def __call__(self, progress: Progress) -> None:
        """Draw, if it is time."""
        if progress.iteration % self.every == 0:
            self.draw(progress.iteration, progress.state.images)  # to export may mean to label

    def draw(self, iteration: int, images: Images) -> None:
        """Write the picture of one iteration; 0 is before the first."""
        pixels = self.preprocess.to_pixels(images.detach())
        save_grid(self.folder / f"iteration_{iteration:06d}.png", pixels, self.columns)


@dataclass
class Variants:
    """Keeps the set every so often, and what else the method makes on the way.

    Attributes:
        every: Iterations between two of them.
        save: Writes a set of an iteration: itself, or by the name of the variant; what an interrupted start has
            written is replaced by the same.
    """

    every: int
    save: Callable[[int, SyntheticSet, str], object]

    def __call__(self, progress: Progress) -> None:
        """Write, if it is time."""
        if progress.iteration % self.every == 0:
            for name, synthetic in {"": progress.export(), **progress.variants()}.items():
                self.save(progress.iteration, synthetic, name)


@dataclass
class Checkpoint:
    """Writes the state, and what the probe remembers, in one file that is replaced by rename.

    A state with numbers that are not finite never replaces a good one.

    Attributes:
        path: The file.
        every: Iterations between two checkpoints.
        probe: Whose memory is kept as well.
        owner: Key of the run, so that the file of another is not taken for one's own.
        written: Iteration of the latest one.
    """

    path: Path
    every: int
    probe: Probe | None = None
    owner: str = ""
    written: int = 0

    def __call__(self, progress: Progress) -> None:
        """Write, if it is time."""
        if progress.iteration % self.every == 0:
            self.write(progress)

    def write(self, progress: Progress) -> None:
        """Write, unless this iteration has been written."""
        if progress.iteration == self.written:
            return
        state = progress.state.tensors()
        check_state(state, progress.iteration)
        content = {f"state.{name}": tensor for name, tensor in state.items()}
        if self.probe is not None:
            content |= {f"probe.{name}": tensor for name, tensor in self.probe.tensors().items()}
        write_tensors(self.path, content, {"iteration": str(progress.iteration), "owner": self.owner})
        self.written = progress.iteration


def read_checkpoint(path: Path, owner: str = "") -> tuple[int, dict[str, Tensor], dict[str, Tensor]]:
    """Return the iteration, the method's state and the probe's state of a checkpoint.

    Raises:
        CorruptFileError: If the file is damaged, not a checkpoint, or that of another run.
        NonFiniteError: If the state holds numbers that are not finite.
    """
    tensors, metadata = read_tensors(path)
    if "iteration" not in metadata:
        raise CorruptFileError(f"{path}: not a checkpoint")
    if metadata.get("owner") != owner:
        raise CorruptFileError(f"{path}: is the checkpoint of a run with other settings or data")
    parts = {
        part: {name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)}
        for part in ("state.", "probe.")
    }
    iteration = int(metadata["iteration"])
    try:
        check_state(parts["state."], iteration)
    except NonFiniteError as error:
        raise NonFiniteError(f"{path}: {error}") from error
    return iteration, parts["state."], parts["probe."]
