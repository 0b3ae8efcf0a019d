"""Stage ``evaluate``: judge the distilled sets against random real images and the full set, under named protocols."""

import time
from collections.abc import Sequence
from pathlib import Path

from datadistill.evaluate.baselines import random_real
from datadistill.evaluate.peak import Candidate, best_of
from datadistill.evaluate.pools import parted
from datadistill.evaluate.protocol import Evaluation, Protocol, Result
from datadistill.evaluate.run import (
    Known,
    Subject,
    count_trials,
    judge,
    real_examples,
    step_size,
    synthetic_examples,
)
from datadistill.experts import ExpertStore, train_experts
from datadistill.networks import FlatNetwork
from datadistill.runtime.atomic import content_key, read_json, write_json
from datadistill.runtime.records import save_record
from datadistill.stages.experts import full_task
from datadistill.stages.session import Session
from datadistill.stages.training_plan import evaluation_executor, expert_executor, training_compiled
from datadistill.synthetic.artifact import Artifact, load_artifact
from datadistill.training.accuracy import accuracy

_VARIANTS = ("averaged", "selected")
_WORDS = {
    "synthetic": "last (iteration {})",
    "averaged": "averaged over the iterations up to {}",
    "selected": "best on validation ({})",
}


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
    distilled = _distilled(session, protocol)
    found = {result.subject: result for result in _judge(session, name, protocol, network, distilled)}
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
    return name if name in _VARIANTS else "synthetic"


def _means(candidates: dict[Candidate, Result], kind: str) -> tuple[tuple[int, float], ...]:
    return tuple((iteration, result.mean) for (iteration, its), result in candidates.items() if its == kind)


def _judge(
    session: Session, name: str, protocol: Protocol, network: FlatNetwork, distilled: dict[str, Artifact]
) -> list[Result]:
    """Return the result of every set; an interrupted evaluation goes on from the trainings it has finished."""
    subjects = _subjects(session, protocol, distilled)
    path = _partial_path(session, name)
    sets = [content_key([subject.name, subject.description, subject.lr]) for subject in subjects]
    sets += [artifact.card.checksum for artifact in distilled.values()]
    known = _known(path, sets)
    with session.reporter.bar(f"evaluate ({name})", count_trials(subjects, protocol), len(known)) as bar:

        def finished(key: str, score: float, seconds: float) -> None:
            known[key] = (score, seconds)
            write_json(path, {"sets": sets, "scores": known})
            bar.advance(1, f"{key.split('/', maxsplit=1)[0]} {100 * score:.1f} %")

        return judge(
            subjects,
            protocol,
            network=network,
            augment=session.config.augment,
            test=real_examples(session.data, session.preprocess, protocol.split),
            rng=session.rng.child("evaluate", name),
            executor=evaluation_executor(session),
            compiled=training_compiled(session),
            known=known,
            finished=finished,
        )


def _known(path: Path, sets: list[str]) -> Known:
    """Return the trainings an interrupted evaluation of the very same sets has finished."""
    stored = read_json(path) if path.exists() else {}
    if not isinstance(stored, dict) or stored.get("sets") != sets:
        return {}
    return {key: (score, seconds) for key, (score, seconds) in stored["scores"].items()}


def _distilled(session: Session, protocol: Protocol) -> dict[str, Artifact]:
    """Return the last iterate by subject, with all that was kept before it, or the averaged and the selected one."""
    run = session.run
    last = load_artifact(run.synthetic)
    if protocol.peak:
        return _kept(session, last.card.iteration) | {"synthetic": last} | _there([run.variant("averaged")])
    others = _there([run.variant(name) for name in _VARIANTS])
    if "selected" in others and others["selected"].card.iteration == last.card.iteration:
        del others["selected"]
    return {"synthetic": last, **others}


def _kept(session: Session, last: int) -> dict[str, Artifact]:
    """Return the sets kept before the last iteration; runs of earlier versions have kept no averages."""
    found: dict[str, Artifact] = {}
    for iteration in session.config.watch.kept(last):
        folder = session.run.kept(iteration)
        found |= {folder.name: load_artifact(folder)} | _there([session.run.kept(iteration, "averaged")])
    return found


def _there(folders: list[Path]) -> dict[str, Artifact]:
    return {folder.name: load_artifact(folder) for folder in folders if folder.exists()}


def _subjects(session: Session, protocol: Protocol, distilled: dict[str, Artifact]) -> list[Subject]:
    """Return the distilled sets and random real images."""
    subjects = []
    for name, artifact in distilled.items():
        synthetic = artifact.synthetic.to(session.device)
        text = "distilled, " + _WORDS.get(name, "iteration {}").format(artifact.card.iteration)
        subjects.append(
            Subject(name, text, (synthetic_examples(synthetic, artifact.card.texture),), step_size(protocol, synthetic))
        )
    if protocol.random_draws:
        rng, ipc, draws = session.rng.child("evaluate"), session.config.ipc, protocol.random_draws
        lr = step_size(protocol, distilled["synthetic"].synthetic)
        subjects.append(random_real(session.data, session.preprocess, ipc=ipc, draws=draws, lr=lr, rng=rng))
    return subjects


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
