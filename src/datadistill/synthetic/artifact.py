"""The synthetic set as tensors, and on disk: ``synthetic.safetensors``, ``card.json``, pictures."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from datadistill.core.arrays import Images, Labels, Targets
from datadistill.core.errors import CorruptFileError, UsageError
from datadistill.core.randomness import Randomness
from datadistill.data.preprocess import Preprocess, load_preprocess
from datadistill.runtime.atomic import read_tensors, write_tensors
from datadistill.runtime.records import load_record, save_record
from datadistill.synthetic.pictures import (
    MOST_BATCHES,
    REPETITIONS,
    save_grid,
    save_repeated,
    save_steps,
    step_label,
    tidy_columns,
)
from datadistill.synthetic.texture import Texture


@dataclass(frozen=True)
class SyntheticSet:
    """A distilled training set, independent of the method that made it.

    Attributes:
        images: In the space a network sees (``card.preprocess`` says which); rows sorted by class.
        targets: Distributions over the classes, or one-hot rows, or raw logits (``card.label_kind``).
        student_lr: Learned step size: one entry, or one per step; absent where the method learns none.
        order: Rows used in each step, where the method prescribes them.
        logits: Whether targets are raw logits of a teacher, to be met as they are, not as distributions.
    """

    images: Images
    targets: Targets
    student_lr: Float[Tensor, " _"] | None = None
    order: Int64[Tensor, "t b"] | None = None
    logits: bool = False

    def __len__(self) -> int:
        return len(self.images)

    @property
    def label_kind(self) -> Literal["hard", "soft", "logits"]:
        """``hard`` if every target names one class alone, ``logits`` if they are raw, ``soft`` otherwise."""
        if self.logits:
            return "logits"
        return "hard" if bool(torch.equal(self.targets.amax(1), self.targets.sum(1))) else "soft"

    def to(self, device: torch.device) -> "SyntheticSet":
        """Return the set on another device."""
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return replace(self, **moved)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are present, by field name."""
        names = ("images", "targets", "student_lr", "order")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class Visit:
    """A batch of a set that prescribes its order.

    Attributes:
        rows: Of the set, as they stand together.
        steps: When the batch is used, counted from 0.
        rates: The learned step size of each of these steps; empty where none was learned.
    """

    rows: tuple[int, ...]
    steps: tuple[int, ...]
    rates: tuple[float, ...]


def visits(synthetic: SyntheticSet) -> tuple[Visit, ...]:
    """Return the different batches of a set in the order in which they are first used; none where it has no order."""
    if synthetic.order is None:
        return ()
    steps: dict[tuple[int, ...], list[int]] = {}
    for step, rows in enumerate(synthetic.order.tolist()):
        steps.setdefault(tuple(rows), []).append(step)
    rates = synthetic.student_lr.tolist() if synthetic.student_lr is not None else []
    rates = rates * len(synthetic.order) if len(rates) == 1 else rates
    return tuple(Visit(rows, tuple(at), tuple(rates[t] for t in at if rates)) for rows, at in steps.items())


@dataclass(frozen=True, kw_only=True)
class Card:
    """What there is to know about a synthetic set besides its tensors; written last.

    Attributes:
        dataset: Name of the real data set.
        classes: Class names; their order defines the labels.
        shape: Channels, height, width of what a network sees.
        ipc: Images per class.
        texture: How the images are seen where they are canvases; absent where a network sees them as they are.
        label_kind: ``hard`` (one-hot), ``soft`` (distributions) or ``logits``.
        preprocess: Description of the pixel space, enough to invert it.
        network: Network the set was distilled with.
        augment: Augmentation the set was distilled with.
        method: Registered name, or where an imported set comes from.
        paper: Reference.
        iteration: Outer iterations the images have seen.
        seed: Seed of the run.
        hyper_parameters: Fields of the method.
        trained_by: What else went in: content key of the experts, number of teachers …
        data_checksum: Checksum of the real data.
        data_source: Where the real data come from.
        data_licence: Licence of the real data.
        data_split: How validation and test were separated.
        checksum: Of ``synthetic.safetensors``; filled in on saving.
        preprocess_checksum: Of ``preprocess.safetensors``, where the pixel space needs tensors.
    """

    schema_version: ClassVar[int] = 2  # 1 had no texture
    dataset: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    ipc: int
    texture: Texture | None = None
    label_kind: Literal["hard", "soft", "logits"] = "hard"
    preprocess: dict[str, Any]
    network: str
    augment: str
    method: str
    paper: str = ""
    iteration: int = 0
    seed: int = 0
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    trained_by: dict[str, Any] = field(default_factory=dict)
    data_checksum: str = ""
    data_source: str = ""
    data_licence: str = ""
    data_split: str = ""
    checksum: str = ""
    preprocess_checksum: str | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of the images of the set."""
        return self.texture.shape(self.shape) if self.texture is not None else self.shape


@dataclass(frozen=True)
class Artifact:
    """A synthetic set with its card and the pixel space it lives in."""

    synthetic: SyntheticSet
    card: Card
    preprocess: Preprocess

    @property
    def labels(self) -> Labels:
        """The classes of the images, ``[n]``: by their targets; of logits by their place, as a teacher may err."""
        synthetic, k = self.synthetic, len(self.card.classes)
        if synthetic.logits and len(synthetic) == k * self.card.ipc:
            return torch.arange(k, device=synthetic.images.device).repeat_interleave(self.card.ipc)
        return synthetic.targets.argmax(1)

    def pixels(self) -> Images:
        """Return the images in [0, 1], clamped: what a person looks at."""
        return self.preprocess.to_pixels(self.synthetic.images).clamp(0, 1)

    def sample(self, rng: Randomness) -> tuple[Images, Targets]:
        """Return images and targets as one training step may use them: of textures fresh windows, else all as they are.

        Args:
            rng: Another one for every step: ``Randomness(0).at(step)``.
        """
        images, targets, texture = self.synthetic.images, self.synthetic.targets, self.card.texture
        if texture is None:
            return images, targets
        rows = texture.repeat(torch.arange(len(images), device=images.device))
        (offsets,) = texture.draw(rng, steps=1, batch=len(images)).to(images.device)
        return texture.windows(images[rows], offsets), targets[rows]


def save_artifact(folder: Path, artifact: Artifact) -> Card:
    """Write an artifact, its card last, and return the card with checksums."""
    (folder / "card.json").unlink(missing_ok=True)
    checksum = write_tensors(folder / "synthetic.safetensors", artifact.synthetic.tensors())
    whitening = artifact.preprocess.tensors()
    extra = write_tensors(folder / "preprocess.safetensors", whitening) if whitening else None
    columns = tidy_columns(artifact.card.ipc, len(artifact.card.classes))
    pixels = artifact.pixels()
    save_grid(folder / "grid.png", pixels, columns)
    batches = visits(artifact.synthetic)
    if batches:
        shown = batches[:MOST_BATCHES]
        labels = [step_label(batch.steps, batch.rates) for batch in shown]
        save_steps(folder / "steps.png", [pixels[list(batch.rows)] for batch in shown], labels)
    if artifact.card.texture is not None:
        for kind in REPETITIONS:
            save_repeated(folder / f"{kind}.png", pixels[:: artifact.card.ipc], kind)
    card = replace(artifact.card, checksum=checksum, preprocess_checksum=extra)
    save_record(folder / "card.json", card)
    return card


def load_artifact(folder: Path | str) -> Artifact:
    """Return the artifact in ``folder``.

    Raises:
        CorruptFileError: If a file is missing, damaged, or does not fit the card.
        SchemaVersionError: If it was written by a newer version.
    """
    folder = Path(folder)
    card = load_record(Card, folder / "card.json")
    tensors, _ = read_tensors(folder / "synthetic.safetensors", card.checksum)
    whitening: dict[str, Tensor] = {}
    if card.preprocess_checksum is not None:
        whitening, _ = read_tensors(folder / "preprocess.safetensors", card.preprocess_checksum)
    n, k = len(card.classes) * card.ipc, len(card.classes)
    images, targets = tensors.get("images"), tensors.get("targets")
    if images is None or images.shape[1:] != card.image_shape or targets is None or targets.shape != (len(images), k):
        raise CorruptFileError(
            f"{folder}: the tensors do not have the shapes on the card ({n} images of {card.image_shape})"
        )
    if (wrong := _wrong_steps(tensors.get("order"), tensors.get("student_lr"), len(images))) is not None:
        raise CorruptFileError(f"{folder / 'synthetic.safetensors'}: {wrong}")
    if foreign := set(tensors) - {field.name for field in fields(SyntheticSet) if field.name != "logits"}:
        raise CorruptFileError(f"{folder / 'synthetic.safetensors'}: holds a tensor '{min(foreign)}' of no known use")
    try:
        preprocess = load_preprocess(card.preprocess, whitening)
    except UsageError as error:
        raise CorruptFileError(f"{folder / 'card.json'}: {error}") from error
    return Artifact(SyntheticSet(**tensors, logits=card.label_kind == "logits"), card, preprocess)


def _wrong_steps(order: Tensor | None, rates: Tensor | None, n: int) -> str | None:
    """Say what is wrong with the steps a set of ``n`` images prescribes; None where nothing is."""
    if order is None:
        return None
    if order.is_floating_point() or order.dim() != 2 or not order.numel() or not 0 <= order.min() <= order.max() < n:
        return f"'order' must hold rows of the set, 0 to {n - 1}, for every step"
    if rates is not None and len(rates) not in (1, len(order)):
        return f"{len(rates)} step sizes do not fit {len(order)} steps"
    return None
