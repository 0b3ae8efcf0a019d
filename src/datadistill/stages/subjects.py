"""What stage ``evaluate`` judges: the distilled sets of a run, and the baselines that a protocol names."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from datadistill.core.errors import UsageError
from datadistill.evaluate.attack import Attack
from datadistill.evaluate.baselines import baseline_sets, best_draws, best_step_size
from datadistill.evaluate.neighbours import nearest_accuracy
from datadistill.evaluate.protocol import BASELINES, Protocol, Result
from datadistill.evaluate.run import Judge, Subject, real_examples, step_size, synthetic_examples
from datadistill.stages.session import Session
from datadistill.stages.teachers import open_teachers
from datadistill.synthetic.artifact import Artifact, load_artifact
from datadistill.training.fit import Examples

KINDS = ("averaged", "hard_labels")
"""Sets that methods make besides, at every iteration that is kept."""

VARIANTS = (*KINDS, "selected")
_WORDS = {
    "synthetic": "last (iteration {})",
    "averaged": "averaged over the iterations up to {}",
    "hard_labels": "last, with hard labels ({})",
    "selected": "best on validation ({})",
}
_CHOOSING_IMAGES = 2000
"""Training images that choices are made on where no validation images can be used."""


def distilled_sets(session: Session, protocol: Protocol) -> dict[str, Artifact]:
    """Return the last iterate by subject, with all that was kept before it, or the averaged and the selected one.

    Raises:
        CorruptFileError: If one is missing or damaged.
    """
    run = session.run
    last = load_artifact(run.synthetic)
    if protocol.peak:
        return _kept(session, last.card.iteration) | {"synthetic": last} | _there([run.variant(kind) for kind in KINDS])
    others = _there([run.variant(name) for name in VARIANTS])
    if "selected" in others and others["selected"].card.iteration == last.card.iteration:
        del others["selected"]
    return {"synthetic": last, **others}


def _kept(session: Session, last: int) -> dict[str, Artifact]:
    """Return the sets kept before the last iteration; runs of earlier versions have kept no averages."""
    found: dict[str, Artifact] = {}
    for iteration in session.config.watch.kept(last):
        folder = session.run.kept(iteration)
        found |= {folder.name: load_artifact(folder)} | _there([session.run.kept(iteration, kind) for kind in KINDS])
    return found


def _there(folders: list[Path]) -> dict[str, Artifact]:
    return {folder.name: load_artifact(folder) for folder in folders if folder.exists()}


def distilled_subjects(session: Session, protocol: Protocol, distilled: dict[str, Artifact]) -> list[Subject]:
    """Return the distilled sets as subjects.

    Raises:
        UsageError: If one has no order, and the protocol trains in it.
    """
    subjects = []
    for name, artifact in distilled.items():
        synthetic = artifact.synthetic.to(session.device)
        text = "distilled, " + _WORDS.get(name, "iteration {}").format(artifact.card.iteration)
        examples, own = synthetic_examples(synthetic, artifact.card.texture, protocol), synthetic.student_lr
        if examples.prescribed is not None:
            repeated = f", {protocol.epochs} times" if protocol.epochs > 1 else ""
            steps = len(examples.prescribed.rates)
            text += f", {steps} step{'s' if steps > 1 else ''} in its order{repeated}"
        elif own is not None and len(own) > 1 and protocol.lr is None and protocol.optimiser == "sgd":
            text += f", with the mean of its {len(own)} step sizes"
        subjects.append(Subject(name, text, (examples,), step_size(protocol, synthetic)))
    return subjects


def baseline_subjects(
    session: Session, protocol: Protocol, own: Subject, attack: Attack | None, judge: Judge
) -> Iterator[Subject]:
    """Yield the baselines that networks are trained on, and how they start, for the last distilled set.

    Where the set is an attack, they are labelled as the attack would have it: random poison.

    Args:
        session: The run.
        protocol: Names the baselines.
        own: That set; baselines are gone through as it is.
        attack: What it was distilled to do.
        judge: Makes choices; it judges on :func:`choosing_examples`.

    Raises:
        DataError: If a class has too few training images.
    """
    rng, (examples,) = session.rng.child("evaluate"), own.draws
    for name in protocol.compared:
        if name == "untrained":
            nothing = Examples(examples.images[:0], examples.targets[:0])
            yield Subject(name, BASELINES[name].summary, (nothing,), own.lr)
        if not BASELINES[name].trained:
            continue
        chosen = name == "optimised"
        sets = baseline_sets(
            "random" if name in ("optimised", "random-labelled") else name,
            session.data,
            session.preprocess,
            ipc=session.config.ipc,
            draws=protocol.candidates if chosen else protocol.random_draws,
            rng=rng.child(name) if chosen else rng,
        )
        text = BASELINES[name].summary + (f", {len(sets)} draws" if BASELINES[name].drawn and len(sets) > 1 else "")
        if name == "random-labelled":
            sets = tuple(_labelled(session, one, examples) for one in sets)
        if attack is not None:
            sets, text = tuple(map(attack.relabelled, sets)), f"{text}, labelled as the attack wants it"
        draws = tuple(replace(one, prescribed=examples.prescribed) for one in sets)
        subject = Subject(name, text, draws, own.lr)
        if chosen:
            subject = best_draws(subject, protocol.random_draws, judge)
        yield best_step_size(subject, protocol.baseline_lrs, judge)


def _labelled(session: Session, one: Examples, own: Examples) -> Examples:
    """Return a set with the labels that the teachers of the run give it, as they label the distilled one.

    Raises:
        UsageError: If the run has no teachers.
    """
    if "teachers" not in session.config.needs:
        raise UsageError("evaluate.baselines: 'random-labelled' is labelled by teachers, and this run has none")
    count = getattr(session.config.method, "label_teachers", 1)
    teachers = open_teachers(session).teachers[:count]
    logits = torch.stack([teacher.logits_of(one.images) for teacher in teachers]).mean(0)
    raw = own.criterion is not F.cross_entropy
    return replace(one, targets=logits if raw else logits.softmax(1), criterion=own.criterion)


def neighbour_results(session: Session, protocol: Protocol, own: Subject) -> Iterator[Result]:
    """Yield the accuracies of nearest-neighbour classification that a protocol names; nothing is trained for them."""
    test = real_examples(session.data, session.preprocess, protocol.split)
    for name in protocol.compared:
        if not name.startswith("knn"):
            continue
        begun, source = time.perf_counter(), name.removeprefix("knn").removeprefix("-")
        rng, ipc, draws = session.rng.child("evaluate"), session.config.ipc, protocol.random_draws
        sets = own.draws
        if source:
            sets = baseline_sets(source, session.data, session.preprocess, ipc=ipc, draws=draws, rng=rng)
        votes = [one.targets if one.criterion is F.cross_entropy else one.targets.softmax(1) for one in sets]  # logits
        scores = tuple(
            (nearest_accuracy(one.images, vote, test, k=protocol.neighbours, p=protocol.norm),)
            for one, vote in zip(sets, votes, strict=True)
        )
        text = f"{BASELINES[name].summary}, k = {protocol.neighbours}, p = {protocol.norm:g}"
        seconds = round(time.perf_counter() - begun, 3)
        yield Result.of(name, text, len(sets[0]), scores, 0.0, seconds)


def choosing_examples(session: Session, protocol: Protocol) -> Examples:
    """Return real images to make choices on: held-out ones, unless there are none or networks are tested there."""
    data, preprocess = session.data, session.preprocess
    if len(data.validation) and protocol.split == "test":
        return real_examples(data, preprocess, "validation")
    order = torch.randperm(len(data.train), generator=session.rng.child("evaluate").stream("choosing"))
    rows = order[:_CHOOSING_IMAGES].to(data.train.labels.device)
    return Examples(data.train.images[rows], data.train.labels[rows], preprocess)
