"""Stage ``evaluate``: judge the distilled sets against random real images and the full set, under named protocols."""

import time
from pathlib import Path

from datadistill.core.registry import find
from datadistill.evaluate.baselines import random_real
from datadistill.evaluate.protocol import PROTOCOLS, Evaluation, Protocol, Result
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
from datadistill.runtime.atomic import content_key, read_json, write_json
from datadistill.runtime.records import load_record, save_record
from datadistill.stages.experts import full_task
from datadistill.stages.session import Session
from datadistill.synthetic.artifact import Card, load_artifact
from datadistill.training.accuracy import accuracy


def run_evaluate(session: Session) -> list[Evaluation]:
    """Judge the artifact of a run under every protocol of its configuration and return the records.

    Raises:
        CorruptFileError: If the artifact is missing or damaged.
        UnknownNameError: If a protocol is not known.
    """
    with session.stage("evaluate"):
        records = []
        for name in session.config.protocols:
            protocol = session.config.evaluate if name == "default" else find(PROTOCOLS, name, "protocol")
            record = _evaluate(session, name, protocol)
            save_record(session.run.evaluation(name), record)
            _partial_path(session, name).unlink(missing_ok=True)
            records.append(record)
        return records


def _evaluate(session: Session, name: str, protocol: Protocol) -> Evaluation:
    full = _full_result(session, protocol)
    network = session.build_network(protocol.network or session.config.network)
    subjects = _subjects(session, protocol)
    path = _partial_path(session, name)
    sets = [content_key([subject.name, subject.description, subject.lr]) for subject in subjects]
    sets.append(load_record(Card, session.run.synthetic / "card.json").checksum)
    known = _known(path, sets)
    with session.reporter.bar(f"evaluate ({name})", count_trials(subjects, protocol), len(known)) as bar:

        def finished(key: str, score: float, seconds: float) -> None:
            known[key] = (score, seconds)
            write_json(path, {"sets": sets, "scores": known})
            bar.advance(1, f"{key.split('/', maxsplit=1)[0]} {100 * score:.1f} %")

        results = judge(
            subjects,
            protocol,
            network=network,
            augment=session.config.augment,
            test=real_examples(session.data, session.preprocess, protocol.split),
            rng=session.rng.child("evaluate", name),
            executor=session.executor,
            known=known,
            finished=finished,
        )
    found = {result.subject: result for result in results}
    if full is not None:
        found["full"] = full
    tested = session.data.test if protocol.split == "test" else session.data.validation
    return Evaluation(
        name=name,
        protocol=protocol,
        dataset=session.data.card.name,
        network=network.name,
        split=f"{protocol.split}, {len(tested)} images",
        results=found,
    )


def _known(path: Path, sets: list[str]) -> Known:
    """Return the trainings an interrupted evaluation of the very same sets has finished."""
    stored = read_json(path) if path.exists() else {}
    if not isinstance(stored, dict) or stored.get("sets") != sets:
        return {}
    return {key: (score, seconds) for key, (score, seconds) in stored["scores"].items()}


def _subjects(session: Session, protocol: Protocol) -> list[Subject]:
    """Return the last iterate, the selected one where it differs, and random real images."""
    last = load_artifact(session.run.synthetic)
    synthetic = last.synthetic.to(session.device)
    lr = step_size(protocol, synthetic)
    subjects = [
        Subject("synthetic", f"distilled, last (iteration {last.card.iteration})", (synthetic_examples(synthetic),), lr)
    ]
    folder = session.run.variant("selected")
    if folder.exists():
        selected = load_artifact(folder)
        if selected.card.iteration != last.card.iteration:
            chosen = selected.synthetic.to(session.device)
            text = f"distilled, best on validation ({selected.card.iteration})"
            subjects.append(Subject("selected", text, (synthetic_examples(chosen),), step_size(protocol, chosen)))
    if protocol.random_draws:
        rng, ipc = session.rng.child("evaluate"), session.config.ipc
        draws = protocol.random_draws
        subjects.append(random_real(session.data, session.preprocess, ipc=ipc, draws=draws, lr=lr, rng=rng))
    return subjects


def _full_result(session: Session, protocol: Protocol) -> Result | None:
    """Return the accuracy of networks trained on the full set; they are trained once and kept in the store.

    The test set is read for it, so a protocol that tests on validation images has none.
    """
    count = session.config.full.networks
    if not count or protocol.split != "test":
        return None
    task = full_task(session, protocol.network or session.config.network)
    train_experts(task, count, session.reporter, session.executor, title="full set (epochs)")
    begun = time.perf_counter()
    store = ExpertStore.open(task.folder, count, session.device)
    test = real_examples(session.data, session.preprocess, "test")
    scores = tuple(accuracy(task.network, *store.final(j), test) for j in range(count))
    training = task.recipe.training
    spent = sum(sidecar.seconds for sidecar in store.sidecars) + time.perf_counter() - begun
    text = f"full training set, {training.epochs} epochs"
    return Result.of("full", text, len(task.train), (scores,), training.lr, round(spent, 3))


def _partial_path(session: Session, name: str) -> Path:
    return session.run.evaluation(name).with_name(f".{name}.partial.json")
