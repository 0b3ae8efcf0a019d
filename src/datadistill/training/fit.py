"""The only ordinary training loop, in shuffled epochs or through the steps that a set prescribes.

Data stay on the device; order and augmentation are drawn on the CPU by named streams, for many steps at
once, and moved in one copy. Nothing in the loop waits for the device.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor

from datadistill.augment import Augment, Draws
from datadistill.core.arrays import Images, Params, Statistics
from datadistill.core.randomness import Randomness
from datadistill.networks import FlatNetwork
from datadistill.synthetic.texture import Texture
from datadistill.training.descent import Descent
from datadistill.training.schedules import TrainingRecipe
from datadistill.training.step import Criterion, TrainingStep

_STEPS_PER_DRAW = 64
_STATISTICS_MOMENTUM = 0.1  # PyTorch's default weight of the newest batch in running statistics


def as_they_are(images: Tensor) -> Images:
    """Return images that already are network inputs."""
    return images


@dataclass(frozen=True)
class Prescribed:
    """The order in which a set wants to be gone through, as Dataset Distillation learns it.

    Attributes:
        rows: Rows of each step, ``[t b]``, on the device.
        rates: Step size of each step.
    """

    rows: Int64[Tensor, "t b"]
    rates: tuple[float, ...]


@dataclass(frozen=True)
class Examples:
    """What a network is trained or tested on.

    Attributes:
        images: Bytes or floats, ``[n c h w]``, on the device.
        targets: Class indices ``[n]``, or distributions or logits ``[n k]``.
        prepare: Turns rows of ``images`` into network inputs: normalisation, whitening, or nothing.
        texture: How they are seen in training, where they are canvases.
        prescribed: The steps of an epoch, with step sizes that go before those of the recipe; absent for shuffled ones.
        criterion: What training minimises: cross-entropy, or, where targets are logits, the L1 distance to these.
    """

    images: Tensor
    targets: Tensor
    prepare: Callable[[Tensor], Images] = as_they_are
    texture: Texture | None = None
    prescribed: Prescribed | None = None
    criterion: Criterion = F.cross_entropy

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Fitted:
    """A network in training, between two epochs.

    Attributes:
        params: Its parameters.
        statistics: Running statistics of its batch-norm layers, for evaluation.
        velocity: Momentum of SGD, first moment of Adam; zeros at the start.
        epoch: Epochs behind it.
        loss: Mean training loss of the last epoch, on the device.
        square: Second moment of Adam; absent before the first epoch, and for SGD.
    """

    params: Params
    statistics: Statistics
    velocity: Params
    epoch: int
    loss: Tensor
    square: Params | None = None

    @classmethod
    def start(cls, network: FlatNetwork, params: Params, statistics: Statistics | None = None) -> "Fitted":
        """Return the state before the first epoch. Copies its arguments; fresh statistics where none are given."""
        own = params.detach().clone()
        statistics = network.initial_statistics().to(own) if statistics is None else statistics.detach().clone()
        return cls(own, statistics, torch.zeros_like(own), 0, torch.full((), torch.nan, device=own.device))


def fit(
    network: FlatNetwork,
    start: Fitted,
    examples: Examples,
    recipe: TrainingRecipe,
    augment: Augment,
    rng: Randomness,
    *,
    compiled: bool = False,
) -> Iterator[Fitted]:
    """Train a network and yield it after every epoch; only the last value stays valid afterwards.

    A run that starts from a yielded state (copied) goes on exactly as the one that yielded it.

    Args:
        network: Pure function of parameters and images.
        start: Where to begin; its tensors are changed in place.
        examples: The training set.
        recipe: Epochs, step sizes, momentum.
        augment: Applied to every batch with fresh draws; one that mixes images makes distributions of class indices.
        rng: Streams ``order`` and ``augment``, and ``texture`` where there is one, are drawn from it.
        compiled: Whether steps on whole batches are compiled; a smaller last one is not worth it.
    """
    eager, whole = (TrainingStep(network, wanted, recipe.gsam, examples.criterion) for wanted in (False, compiled))
    n, size = _epoch(examples, recipe)
    steps = -(-n // size)
    epochs_per_draw = max(1, _STEPS_PER_DRAW // steps)
    params, statistics, prescribed = start.params, start.statistics, examples.prescribed
    forgotten = recipe.drop_epoch if recipe.reset_momentum else None
    descent = _descent(start, recipe, forgotten, steps)
    drawn: _Drawn | None = None
    one_hot = _one_hot(network, params, examples) if augment.mixes else None
    for epoch in range(start.epoch, recipe.epochs_run):
        chunk, within = divmod(epoch, epochs_per_draw)
        if drawn is None or within == 0:
            drawn = _draw(rng.at(chunk), augment, examples, epochs_per_draw, size)
        if epoch == forgotten:
            descent.forget()
        total = torch.zeros((), device=params.device, dtype=params.dtype)
        for step in range(steps):
            rows = drawn.order[within, step * size : (step + 1) * size]
            images, targets = drawn.batch(examples, augment, rows, within * steps + step, one_hot)
            step_on = whole if len(rows) == size else eager
            gradient, (loss, seen) = step_on(params, images, targets)
            descent(params, gradient, recipe.lr_at(epoch) if prescribed is None else prescribed.rates[step])
            if len(statistics):
                statistics.lerp_(seen, _STATISTICS_MOMENTUM)
            total += len(rows) * loss
        yield Fitted(params, statistics, descent.velocity, epoch + 1, total / n, descent.square)


def _descent(start: Fitted, recipe: TrainingRecipe, forgotten: int | None, steps: int) -> Descent:
    """Return the optimiser as it was when ``start`` was yielded."""
    square = torch.zeros_like(start.params) if recipe.adam is not None and start.square is None else start.square
    since = 0 if forgotten is None or start.epoch < forgotten else forgotten
    return Descent(recipe, start.velocity, square, (start.epoch - since) * steps)


def _epoch(examples: Examples, recipe: TrainingRecipe) -> tuple[int, int]:
    """Return how many rows an epoch has, and how many of them a step."""
    if examples.prescribed is not None:
        return examples.prescribed.rows.numel(), examples.prescribed.rows.shape[1]
    return len(examples), min(recipe.batch_size, len(examples))


@dataclass(frozen=True)
class _Drawn:
    """What was drawn for a few epochs, on the device: orders ``[e n]``, and numbers for every step."""

    order: Tensor
    draws: Draws
    offsets: Tensor | None

    def batch(
        self, examples: Examples, augment: Augment, rows: Tensor, step: int, one_hot: Tensor | None
    ) -> tuple[Images, Tensor]:
        """Return what a network sees of these rows in a step, and the targets that belong to it."""
        texture, offsets = examples.texture, self.offsets
        rows = rows if texture is None else texture.repeat(rows)
        images, targets = examples.prepare(examples.images[rows]), examples.targets[rows]
        if texture is not None and offsets is not None:
            images = texture.windows(images, offsets[step, : len(rows)])
        drawn = self.draws[step].rows(len(rows))
        if augment.mixes:
            targets = targets if one_hot is None else one_hot[targets]
            targets = augment.mix(targets, drawn, (images.shape[2], images.shape[3]))
        return augment.apply(images, drawn), targets


def _draw(rng: Randomness, augment: Augment, examples: Examples, epochs: int, size: int) -> _Drawn:
    """Draw for ``epochs`` epochs of steps on ``size`` rows."""
    generator, n, device, texture = rng.stream("order"), len(examples), examples.images.device, examples.texture
    if examples.prescribed is not None:
        order = examples.prescribed.rows.reshape(1, -1).expand(epochs, -1)
    else:
        order = torch.stack([torch.randperm(n, generator=generator) for _ in range(epochs)])
    steps = epochs * -(-order.shape[1] // size)
    seen = size * (texture.samples if texture is not None else 1)
    draws = augment.draw(rng.stream("augment"), steps=steps, batch=seen)
    offsets = texture.draw(rng, steps=steps, batch=size).to(device) if texture is not None else None
    return _Drawn(order.to(device), draws.to(device), offsets)


def _one_hot(network: FlatNetwork, params: Params, examples: Examples) -> Tensor | None:
    """Return the distribution of every class, ``[k k]``; None where the targets are distributions already."""
    if examples.targets.dim() == 2:
        return None
    with torch.no_grad():
        classes = network(params, examples.prepare(examples.images[:2])).shape[1]
    return torch.eye(classes, dtype=params.dtype, device=params.device)
