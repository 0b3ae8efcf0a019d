"""Train fresh networks on small sets and test them; the same networks for every set, so that results are paired."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch.nn.functional as F

from datadistill.augment import build_augment
from datadistill.core.errors import UsageError
from datadistill.core.randomness import Randomness
from datadistill.data import Preprocess, RealData
from datadistill.evaluate.attack import Attack, Poisoning
from datadistill.evaluate.protocol import Protocol, Result
from datadistill.evaluate.starts import Start
from datadistill.networks import FlatNetwork
from datadistill.runtime.atomic import write_tensors
from datadistill.runtime.executor import Executor, InProcess, check_cancelled
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.texture import Texture
from datadistill.training.accuracy import accuracy_of, predictions
from datadistill.training.fit import Examples, Fitted, Prescribed, fit
from datadistill.training.schedules import TrainingRecipe

_ADAM_LR = 1e-3

Scores = tuple[float, ...]
"""Accuracy and seconds of a training; under an attack :meth:`Attack.figures` behind them."""

Known = dict[str, Scores]
"""Scores of every finished training, by key: what an interrupted evaluation goes on from."""

Judge = Callable[[Sequence["Subject"]], list[Result]]


@dataclass(frozen=True)
class Subject:
    """One kind of set to be judged.

    Attributes:
        name: ``synthetic``, ``averaged``, ``selected``, ``random``, or the folder of a kept variant.
        description: In words.
        draws: The sets: one, or several draws.
        lr: Step size the networks are trained with.
        keep: Folder in which they are kept, as ``<draw>_<number>.safetensors``; absent for none.
    """

    name: str
    description: str
    draws: tuple[Examples, ...]
    lr: float
    keep: Path | None = None


@dataclass(frozen=True)
class Trial:
    """One network to be trained and tested; on no images, as it starts. Picklable."""

    network: FlatNetwork
    train: Examples
    test: Examples
    training: TrainingRecipe
    augment: str
    rng: Randomness
    compiled: bool = False
    start: Start | None = None
    attack: Attack | None = None
    keep: Path | None = None


def run_trial(trial: Trial) -> Scores:
    """Return the test accuracy of a network trained on the trial's set, the seconds it took, and what an attack did."""
    begun = time.perf_counter()
    network = trial.network.twin()  # another thread may be at the same one
    state, augment = _start(network, trial), build_augment(trial.augment)
    if len(trial.train):
        for fitted in fit(network, state, trial.train, trial.training, augment, trial.rng, compiled=trial.compiled):
            check_cancelled()
            state = fitted
    predicted = predictions(network, state.params, state.statistics, trial.test, compiled=trial.compiled)
    figures = () if trial.attack is None else trial.attack.figures(predicted, trial.test.targets)
    score = accuracy_of(predicted, trial.test.targets)
    if trial.keep is not None:
        trained = {"params": state.params, "statistics": state.statistics}
        write_tensors(trial.keep, trained, {"network": network.name, "accuracy": repr(score)})
    return score, time.perf_counter() - begun, *figures


def _start(network: FlatNetwork, trial: Trial) -> Fitted:
    device = trial.train.images.device
    if trial.start is not None:
        return Fitted.start(network, trial.start.params.to(device), trial.start.statistics.to(device))
    return Fitted.start(network, network.initial(trial.rng.stream("initial weights")).to(device))


def real_examples(data: RealData, preprocess: Preprocess, split: Literal["test", "validation"]) -> Examples:
    """Return the real images that networks are tested on."""
    chosen = data.test if split == "test" else data.validation
    return Examples(chosen.images, chosen.labels, preprocess)


def synthetic_examples(
    synthetic: SyntheticSet, texture: Texture | None = None, protocol: Protocol | None = None
) -> Examples:
    """Return a synthetic set as training examples, seen as its card says, in its own order where the protocol wants it.

    Logits are met by the L1 distance.

    Raises:
        UsageError: If it has no such order.
    """
    steps = prescribed_steps(synthetic, protocol) if protocol is not None and protocol.ordered else None
    criterion = F.l1_loss if synthetic.logits else F.cross_entropy
    return Examples(synthetic.images, synthetic.targets, texture=texture, prescribed=steps, criterion=criterion)


def prescribed_steps(synthetic: SyntheticSet, protocol: Protocol) -> Prescribed:
    """Return rows and step size of every step of a set: its own step sizes, unless the protocol has one for all.

    Raises:
        UsageError: If the set has no order.
    """
    if synthetic.order is None:
        raise UsageError(
            "the set has no order of its own, which this protocol trains in; judge it under protocol 'default'"
        )
    steps, own = len(synthetic.order), synthetic.student_lr
    every = len(own) == steps if own is not None and protocol.lr is None and protocol.optimiser == "sgd" else False
    rates = own.tolist() if own is not None and every else [step_size(protocol, synthetic)] * steps
    return Prescribed(synthetic.order, tuple(rates))


def step_size(protocol: Protocol, synthetic: SyntheticSet) -> float:
    """Return one step size to train networks with: the protocol's, else the learned one, else the fallback.

    Of a step size per step it is the mean. Learned ones are those of SGD; Adam has its usual one instead.
    """
    if protocol.lr is not None:
        return protocol.lr
    if protocol.optimiser == "adam":
        return _ADAM_LR
    if synthetic.student_lr is None:
        return protocol.fallback_lr
    return float(synthetic.student_lr.mean().item())


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
    starts: Sequence[Start] | None = None,
    attack: Attack | None = None,
    known: Known | None = None,
    finished: Callable[..., None] = lambda key, *scores: None,
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
        starts: Where network ``j`` starts from, as many as the protocol has networks; absent for at random.
        attack: What the distilled set was made to do, to be measured.
        known: Trainings that are already done.
        finished: Called after each training with its key and scores.
    """
    scores = dict(known or {})
    trials = {
        key: replace(trial, compiled=compiled, attack=attack)
        for key, trial in _trials(subjects, protocol, network, augment, test, rng, starts)
        if key not in scores or (trial.keep is not None and not trial.keep.exists())
    }
    keys = list(trials)
    for position, found in (executor or InProcess()).run(run_trial, [trials[key] for key in keys]):
        scores[keys[position]] = found
        finished(keys[position], *found)
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
    starts: Sequence[Start] | None,
) -> Iterator[tuple[str, Trial]]:
    for subject in subjects:
        training = protocol.training(subject.lr)
        for draw, train in enumerate(subject.draws):
            for j in range(protocol.networks):
                chosen = augment if protocol.augment is None else protocol.augment
                keep = subject.keep / f"{draw}_{j}.safetensors" if subject.keep is not None else None
                trial = Trial(network, train, test, training, chosen, rng.child("network", j), keep=keep)
                yield _key(subject, draw, j), trial if starts is None else replace(trial, start=starts[j])


def _result(subject: Subject, protocol: Protocol, scores: Known) -> Result:
    table = [[scores[_key(subject, d, j)] for j in range(protocol.networks)] for d in range(len(subject.draws))]
    result = Result.of(
        subject.name,
        subject.description,
        len(subject.draws[0]),
        tuple(tuple(scores[0] for scores in row) for row in table),
        subject.lr if len(subject.draws[0]) else 0.0,
        round(sum(scores[1] for row in table for scores in row), 3),
    )
    figures = [[scores[2:] for scores in row] for row in table]
    return replace(result, poisoning=Poisoning.of(figures)) if figures[0][0] else result


def _key(subject: Subject, draw: int, network: int) -> str:
    return f"{subject.name}/{draw}/{network}"
