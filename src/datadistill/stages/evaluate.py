"""Stage ``evaluate``: judge the distilled sets against random real images and the full set, under named protocols."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from datadistill.core.structure import unstructure
from datadistill.evaluate.attack import Attack, attack_of
from datadistill.evaluate.peak import Candidate, best_of
from datadistill.evaluate.pools import parted
from datadistill.evaluate.protocol import Evaluation, Protocol, Result
from datadistill.evaluate.run import Known, Subject, count_trials, judge, real_examples
from datadistill.evaluate.starts import Start
from datadistill.experts import ExpertStore, train_experts
from datadistill.networks import FlatNetwork
from datadistill.runtime.atomic import content_key, read_json, write_json
from datadistill.runtime.records import save_record
from datadistill.stages.experts import full_task
from datadistill.stages.session import Session
from datadistill.stages.starts import settle_start
from datadistill.stages.subjects import (
    VARIANTS,
    baseline_subjects,
    choosing_examples,
    distilled_sets,
    distilled_subjects,
    neighbour_results,
)
from datadistill.stages.training_plan import evaluation_executor, expert_executor, training_compiled
from datadistill.synthetic.artifact import Artifact
from datadistill.training.accuracy import accuracy
from datadistill.training.fit import Examples


def run_evaluate(session: Session, protocols: Sequence[str] | None = None) -> list[Evaluation]:
    """Judge the artifact of a run and return the records.

    Args:
        session: The run.
        protocols: Names of protocols; absent for those of its configuration.

    Raises:
        CorruptFileError: If the artifact is missing or damaged.
        UnknownNameError: If a protocol is not known.
        UsageError: If an evaluation network does not fit the images.
    """
    names = session.config.protocols if protocols is None else tuple(protocols)
    session.check_networks(names)
    more = protocols is not None and session.run.is_done("evaluate")
    with session.locked() if more else session.stage("evaluate"):
        records = []
        for name in names:
            records.append(_evaluate(session, name, session.config.protocol(name)))
            save_record(session.run.evaluation(name), records[-1])
        for name in names:  # kept so long: an interrupted evaluation repeats nothing
            _partial_path(session, name).unlink(missing_ok=True)
        return records


def _evaluate(session: Session, name: str, protocol: Protocol) -> Evaluation:
    full = None if parted(name)[1] else _full_result(session, protocol)
    network = session.build_network(protocol.network or session.config.network)
    distilled = distilled_sets(session, protocol)
    protocol, starts, words = settle_start(session, protocol, network, distilled["synthetic"].card)
    attack = attack_of(distilled["synthetic"].card)
    contest = _Contest(session, name, protocol, network, starts, attack)
    found = {result.subject: result for result in contest.results(distilled)}
    if full is not None:
        found["full"] = full
    candidates: dict[Candidate, Result] = {}
    if protocol.peak:
        candidates = {(one.card.iteration, _kind(subject)): found[subject] for subject, one in distilled.items()}
        others = {subject: result for subject, result in found.items() if subject not in distilled or _is_last(subject)}
        found = {**others, "peak": best_of(candidates)}
    tested_of = {kind: _means(candidates, kind) for kind in dict.fromkeys(kind for _, kind in candidates)}
    tested = session.data.test if protocol.split == "test" else session.data.validation
    return Evaluation(
        name=name,
        protocol=protocol,
        dataset=session.data.card.name,
        network=network.name,
        split=f"{protocol.split}, {len(tested)} images",
        start=words,
        attack=attack,
        results=found,
        candidates=tested_of.pop("synthetic", ()),
        variant_candidates=tested_of,
    )


def _is_last(subject: str) -> bool:
    """Say whether a subject is a set of the last iteration and not one that was kept on the way."""
    return _kind(subject) == subject


def _kind(subject: str) -> str:
    """Return which set of its iteration a subject is: ``synthetic``, or a variant."""
    name = subject.rpartition("-")[2]
    return name if name in VARIANTS else "synthetic"


def _means(candidates: dict[Candidate, Result], kind: str) -> tuple[tuple[int, float], ...]:
    return tuple((iteration, result.mean) for (iteration, its), result in candidates.items() if its == kind)


@dataclass
class _Contest:
    """The judging of one protocol under way: what is the same for everything that is judged.

    Attributes:
        session: The run.
        name: Of the protocol, with its network.
        protocol: With as many networks as there are starts.
        network: What is trained.
        starts: Where the networks start; absent for at random.
        attack: What the set was distilled to do.
    """

    session: Session
    name: str
    protocol: Protocol
    network: FlatNetwork
    starts: tuple[Start, ...] | None
    attack: Attack | None

    def results(self, distilled: dict[str, Artifact]) -> list[Result]:
        """Return the result of every set and baseline; an interrupted evaluation goes on from what it has finished."""
        session, protocol, path = self.session, self.protocol, _partial_path(self.session, self.name)
        own = distilled_subjects(session, protocol, distilled)
        if protocol.save_networks:
            own = [replace(one, keep=session.run.networks(self.name) / one.name) for one in own]
        last = next(one for one in own if one.name == "synthetic")
        sets = [content_key(unstructure(protocol)), *(artifact.card.checksum for artifact in distilled.values())]
        known = _known(path, sets)
        total = count_trials(own, protocol) + protocol.baseline_trainings(session.config.ipc)
        with session.reporter.bar(f"evaluate ({self.name})", total, len(known)) as bar:

            def finished(key: str, *scores: float) -> None:
                known[key] = scores
                write_json(path, {"sets": sets, "scores": known})
                bar.advance(1, f"{key.split('/', maxsplit=1)[0]} {100 * scores[0]:.1f} %")

            judge = partial(self._judge, known=known, finished=finished)
            choose = partial(self._choose, choosing_examples(session, protocol), judge)
            baselines = baseline_subjects(session, protocol, last, self.attack, choose)
            test = real_examples(session.data, session.preprocess, protocol.split)
            rng = session.rng.child("evaluate", self.name)
            found = judge([*own, *baselines], protocol, test=test, rng=rng)
            return [*found, *neighbour_results(session, protocol, last)]

    def _choose(self, test: Examples, judge: Callable[..., list[Result]], subjects: Sequence[Subject]) -> list[Result]:
        """Judge with a few other networks, where there are others, on images that nothing is tested on."""
        count = min(self.protocol.choosing_networks, len(self.starts) if self.starts is not None else math.inf)
        test = test if self.attack is None else self.attack.relabelled(test)
        rng = self.session.rng.child("evaluate", self.name, "choosing")
        return judge(subjects, replace(self.protocol, networks=int(count)), test=test, rng=rng)

    def _judge(self, subjects: Sequence[Subject], protocol: Protocol, **options: Any) -> list[Result]:
        return judge(
            subjects,
            protocol,
            network=self.network,
            augment=self.session.config.augment,
            executor=evaluation_executor(self.session),
            compiled=training_compiled(self.session),
            starts=self.starts,
            attack=self.attack,
            **options,
        )


def _known(path: Path, sets: list[str]) -> Known:
    """Return the trainings an interrupted evaluation of the very same sets has finished."""
    stored = read_json(path) if path.exists() else {}
    if not isinstance(stored, dict) or stored.get("sets") != sets:
        return {}
    return {key: tuple(scores) for key, scores in stored["scores"].items()}


def _full_result(session: Session, protocol: Protocol) -> Result | None:
    """Return the accuracy of networks trained on the full set; they are trained once and kept in the store.

    The test set is read for it, so a protocol that tests on validation images has none; nor has one that chooses on
    the test set, which would not be compared with it fairly.
    """
    count = session.config.full.networks
    if not count or protocol.split != "test" or protocol.peak:
        return None
    task = full_task(session, protocol.network or session.config.network)
    executor = expert_executor(session, task, count)
    train_experts(task, count, session.reporter, executor, title="full set (epochs)")
    begun = time.perf_counter()
    store = ExpertStore.open(task.folder, count, session.device)
    test = real_examples(session.data, session.preprocess, "test")
    scores = tuple(accuracy(task.network, *store.final(j), test, compiled=task.compiled) for j in range(count))
    training = task.recipe.training
    spent = sum(sidecar.seconds for sidecar in store.sidecars) + time.perf_counter() - begun
    text = f"full training set, {training.epochs} epochs"
    return Result.of("full", text, len(task.train), (scores,), training.lr, round(spent, 3))


def _partial_path(session: Session, name: str) -> Path:
    return session.run.evaluation(name).with_name(f".{name}.partial.json")
