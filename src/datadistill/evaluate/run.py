"""Train fresh networks on small sets and test them; the same networks for every set, so that results are paired."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch.nn.functional as F

from datadistill.augment import build_augment
from datadistill.core.errors import UsageError
from datadistill.core.randomness import Randomness
from datadistill.data import Preprocess, RealData
from datadistill.evaluate.protocol import Protocol, Result
from datadistill.networks import FlatNetwork
from datadistill.runtime.executor import Executor, InProcess, check_cancelled
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.texture import Texture
from datadistill.training.accuracy import accuracy
from datadistill.training.fit import Examples, Fitted, fit
from datadistill.training.schedules import TrainingRecipe

Known = dict[str, tuple[float, float]]
"""Accuracy and seconds of every finished training, by key: what an interrupted evaluation goes on from."""


@dataclass(frozen=True)
class Subject:
    """One kind of set to be judged.

    Attributes:
        name: ``synthetic``, ``averaged``, ``selected``, ``random``, or the folder of a kept variant.
        description: In words.
        draws: The sets: one, or several draws.
        lr: Step size the networks are trained with.
    """

    name: str
    description: str
    draws: tuple[Examples, ...]
    lr: float


@dataclass(frozen=True)
class Trial:
    """One network to be trained and tested. Picklable."""

    network: FlatNetwork
    train: Examples
    test: Examples
    training: TrainingRecipe
    augment: str
    rng: Randomness
    compiled: bool = False


def run_trial(trial: Trial) -> tuple[float, float]:
    """Return the test accuracy of a fresh network trained on the trial's set, and the seconds it took."""
    begun = time.perf_counter()
    network = trial.network.twin()  # another thread may be at the same one
    params = network.initial(trial.rng.stream("initial weights")).to(trial.train.images.device)
    state = Fitted.start(network, params)
    augment = build_augment(trial.augment)
    for fitted in fit(network, state, trial.train, trial.training, augment, trial.rng, compiled=trial.compiled):
        check_cancelled()
        state = fitted
    score = accuracy(network, state.params, state.statistics, trial.test, compiled=trial.compiled)
    return score, time.perf_counter() - begun


def real_examples(data: RealData, preprocess: Preprocess, split: Literal["test", "validation"]) -> Examples:
    """Return the real images that networks are tested on."""
    chosen = data.test if split == "test" else data.validation
    return Examples(chosen.images, chosen.labels, preprocess)


def synthetic_examples(synthetic: SyntheticSet, texture: Texture | None = None) -> Examples:
    """Return a synthetic set as training examples, seen as its card says; logits are met by the L1 distance."""
    criterion = F.l1_loss if synthetic.logits else F.cross_entropy
    return Examples(synthetic.images, synthetic.targets, texture=texture, criterion=criterion)


def step_size(protocol: Protocol, synthetic: SyntheticSet) -> float:
    """Return the step size networks are trained with: the protocol's, else the learned one, else the fallback.

    Raises:
        UsageError: If the set has a step size per step and the protocol has none of its own: it is meant for
            training in a fixed order, which ordinary epochs are not.
    """
    if protocol.lr is not None:
        return protocol.lr
    if synthetic.student_lr is None:
        return protocol.fallback_lr
    if len(synthetic.student_lr) > 1:
        raise UsageError(
            f"the set has {len(synthetic.student_lr)} step sizes, one per step in its own order; "
            "to train in ordinary epochs set evaluate.lr"
        )
    return float(synthetic.student_lr[0].item())


def judge(
    subjects: Sequence[Subject],
    protocol: Protocol,
    *,
    network: FlatNetwork,
    augment: str,
    test: Examples,
    rng: Randomness,
    executor: Executor | None = None,
    compiled: bool = False,
    known: Known | None = None,
    finished: Callable[[str, float, float], None] = lambda key, score, seconds: None,
) -> list[Result]:
    """Return the results of all subjects under one protocol.

    Network ``j`` starts from the same weights and sees the same draws on every set.

    Args:
        subjects: What is judged.
        protocol: How.
        network: The evaluation network.
        augment: Augmentation where the protocol names none.
        test: Real images with class indices.
        rng: Network ``j`` draws from ``rng.child("network", j)``.
        executor: Runs the trainings.
        compiled: Whether training steps are compiled.
        known: Trainings that are already done.
        finished: Called after each training with its key, accuracy and seconds.
    """
    scores = dict(known or {})
    trials = {
        key: replace(trial, compiled=compiled)
        for key, trial in _trials(subjects, protocol, network, augment, test, rng)
        if key not in scores
    }
    keys = list(trials)
    for position, (score, seconds) in (executor or InProcess()).run(run_trial, [trials[key] for key in keys]):
        scores[keys[position]] = (score, seconds)
        finished(keys[position], score, seconds)
    return [_result(subject, protocol, scores) for subject in subjects]


def count_trials(subjects: Sequence[Subject], protocol: Protocol) -> int:
    """Return how many trainings :func:`judge` needs in all."""
    return sum(len(subject.draws) for subject in subjects) * protocol.networks


def _trials(
    subjects: Sequence[Subject],
    protocol: Protocol,
    network: FlatNetwork,
    augment: str,
    test: Examples,
    rng: Randomness,
) -> Iterator[tuple[str, Trial]]:
    for subject in subjects:
        training = protocol.training(subject.lr)
        for draw, train in enumerate(subject.draws):
            for j in range(protocol.networks):
                chosen = augment if protocol.augment is None else protocol.augment
                trial = Trial(network, train, test, training, chosen, rng.child("network", j))
                yield _key(subject, draw, j), trial


def _result(subject: Subject, protocol: Protocol, scores: Known) -> Result:
    table = [[scores[_key(subject, d, j)] for j in range(protocol.networks)] for d in range(len(subject.draws))]
    return Result.of(
        subject.name,
        subject.description,
        len(subject.draws[0]),
        tuple(tuple(score for score, _ in row) for row in table),
        subject.lr,
        round(sum(seconds for row in table for _, seconds in row), 3),
    )


def _key(subject: Subject, draw: int, network: int) -> str:
    return f"{subject.name}/{draw}/{network}"
