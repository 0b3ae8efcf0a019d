"""What a distilled set has to beat: other small sets, made of real training images without distilling."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from datadistill.core.arrays import Images
from datadistill.core.errors import DataError
from datadistill.core.randomness import Randomness
from datadistill.data import Preprocess, RealData
from datadistill.data.sampling import rows_by_class
from datadistill.evaluate.protocol import BASELINES
from datadistill.evaluate.run import Judge, Subject
from datadistill.synthetic.initial import initial_set
from datadistill.training.fit import Examples

_CHUNK = 512  # images prepared at once


def random_real(data: RealData, preprocess: Preprocess, *, ipc: int, draws: int, lr: float, rng: Randomness) -> Subject:
    """Return ``draws`` independent draws of ``ipc`` real training images per class.

    Raises:
        DataError: If a class has fewer than ``ipc`` training images.
    """
    sets = []
    for draw in range(draws):
        images, targets = initial_set("real", data, preprocess, ipc=ipc, rng=rng.child("random real", draw))
        sets.append(Examples(images, targets))
    return Subject("random", f"random real, {draws} draws", tuple(sets), lr)


def class_averages(data: RealData, preprocess: Preprocess, *, ipc: int) -> Examples:
    """Return the mean training image of every class, ``ipc`` times, in network space."""
    means = []
    for rows in rows_by_class(data.train.labels, data.classes):
        total = sum(preprocess(data.train.images[part]).sum(0, dtype=torch.float64) for part in rows.split(_CHUNK))
        means.append(torch.as_tensor(total) / len(rows))
    return _labelled(torch.stack(means).float().repeat_interleave(ipc, 0), data.classes)


def kmeans_centres(data: RealData, preprocess: Preprocess, *, ipc: int, rng: Randomness) -> Examples:
    """Return ``ipc`` centres of the training images of every class, in network space, from seeds of k-means++.

    Lloyd's iteration goes on until no image changes its centre, or for 300 rounds.

    Args:
        data: The real data; nothing is augmented.
        preprocess: Maps bytes to network space.
        ipc: Centres per class.
        rng: Class ``c`` draws from ``rng.child("k-means", c)``.

    Raises:
        DataError: If a class has fewer than ``ipc`` training images.
    """
    from sklearn.cluster import KMeans  # heavy to import

    centres: list[Images] = []
    for label, rows in enumerate(rows_by_class(data.train.labels, data.classes)):
        if len(rows) < ipc:
            raise DataError(f"class {label} has {len(rows)} images, {ipc} centres were asked for")
        images = torch.cat([preprocess(data.train.images[part]) for part in rows.split(_CHUNK)])
        seed = rng.child("k-means", label).number("seeds") % 2**32
        found = KMeans(ipc, n_init=1, tol=0, random_state=seed).fit(images.flatten(1).cpu().numpy())
        centres.append(torch.from_numpy(found.cluster_centers_).to(images).view(ipc, *images.shape[1:]))
    return _labelled(torch.cat(centres), data.classes)


def _labelled(images: Tensor, classes: int) -> Examples:
    """Return as many images of every class, sorted by it, as examples."""
    labels = torch.arange(classes, device=images.device).repeat_interleave(len(images) // classes)
    return Examples(images, F.one_hot(labels, classes).float())


def baseline_sets(
    source: str, data: RealData, preprocess: Preprocess, *, ipc: int, draws: int, rng: Randomness
) -> tuple[Examples, ...]:
    """Return the sets of a baseline: ``random``, ``average`` or ``kmeans``; of what is not drawn there is one.

    Raises:
        DataError: If a class has fewer than ``ipc`` training images.
    """
    if source == "random":
        return random_real(data, preprocess, ipc=ipc, draws=draws, lr=1.0, rng=rng).draws
    if source == "average" or ipc == 1:
        return (class_averages(data, preprocess, ipc=ipc),)
    return tuple(kmeans_centres(data, preprocess, ipc=ipc, rng=rng.child("draw", draw)) for draw in range(draws))


def best_draws(subject: Subject, keep: int, judge: Judge) -> Subject:
    """Return the ``keep`` draws of a subject on which networks do best, in the order they were drawn.

    Args:
        subject: With at least as many draws.
        keep: How many.
        judge: Judges on images that nothing is tested on.
    """
    (result,) = judge([replace(subject, name=f"choosing {subject.name}")])
    means = [sum(scores) / len(scores) for scores in result.accuracies]
    best = sorted(sorted(range(len(means)), key=lambda draw: -means[draw])[:keep])
    text = f"{BASELINES['optimised'].summary}, {keep} of {len(means)} draws"
    return replace(subject, description=text, draws=tuple(subject.draws[draw] for draw in best))


def best_step_size(subject: Subject, lrs: tuple[float, ...], judge: Judge) -> Subject:
    """Return a subject with the step size on which networks do best: its own, or one of ``lrs`` for all steps.

    Args:
        subject: As it would be without a choice.
        lrs: What else is tried.
        judge: Judges on images that nothing is tested on.
    """
    if not lrs:
        return subject
    tried = [subject, *(with_step_size(subject, lr) for lr in lrs)]
    names = [f"choosing {subject.name} {place}" for place in range(len(tried))]
    results = judge([replace(one, name=name) for one, name in zip(tried, names, strict=True)])
    best = max(range(len(tried)), key=lambda place: results[place].mean)
    words = f", step size {tried[best].lr:.3g}, best of {len(tried)}" if best else f", step size best of {len(tried)}"
    return replace(tried[best], description=subject.description + words)


def with_step_size(subject: Subject, lr: float) -> Subject:
    """Return a subject that is trained on with one step size, in the order it has."""
    draws = tuple(
        replace(draw, prescribed=draw.prescribed and replace(draw.prescribed, rates=(lr,) * len(draw.prescribed.rates)))
        for draw in subject.draws
    )
    return replace(subject, draws=draws, lr=lr)
