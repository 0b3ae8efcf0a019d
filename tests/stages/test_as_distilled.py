"""Stage ``evaluate`` on a set with an order of its own: starts, baselines, choices, attacks, and where it goes on."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import datadistill as dd
from datadistill.core.errors import UsageError
from datadistill.evaluate.protocol import Evaluation, Protocol, named
from datadistill.evaluate.run import real_examples
from datadistill.networks.known import known_weights
from datadistill.runtime.records import load_record
from datadistill.runtime.rundir import RunDir
from datadistill.stages import evaluate as stage
from datadistill.stages import open_run, run_evaluate
from datadistill.stages.distill import make_probe
from datadistill.stages.subjects import distilled_subjects
from datadistill.synthetic.artifact import save_artifact
from datadistill.training.accuracy import accuracy
from reference.training import as_module, in_order
from system.tiny_run import copy_of_finished

NAME = "as-distilled"
EVERYTHING = Protocol(
    networks=2,
    random_draws=2,
    candidates=3,
    choosing_networks=1,
    baseline_lrs=(0.05,),
    baselines=("untrained", "random", "optimised", "average", "kmeans", "knn", "knn-random"),
)
SMALL = Protocol(networks=2, baselines=("untrained", "random"), random_draws=1)


def ordered(tmp_path: Path, **hyper_parameters: object) -> RunDir:
    """Return a finished run whose set has four steps of five images, and a card that says how it was made."""
    run = copy_of_finished(tmp_path)
    artifact = dd.load_artifact(run.synthetic)
    order = torch.arange(10).view(2, 5).repeat(2, 1)
    synthetic = replace(artifact.synthetic, order=order, student_lr=torch.tensor([0.1, 0.2, 0.05, 0.05]))
    card = replace(artifact.card, hyper_parameters=hyper_parameters)
    save_artifact(run.synthetic, replace(artifact, synthetic=synthetic, card=card))
    shutil.rmtree(run.variants, ignore_errors=True)
    return run


def judged(run: RunDir, protocol: Protocol = SMALL, **config: Any) -> Evaluation:
    session = open_run(run.root)
    session.config = replace(session.config, protocols=(NAME,), evaluate=protocol, **config)
    (record,) = run_evaluate(session)
    assert load_record(Evaluation, run.evaluation(NAME)).results == record.results
    return record


def test_every_baseline_is_judged_and_an_interrupt_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ordered(tmp_path)
    written, write_json = [], stage.write_json

    def limited(path: Path, content: Any) -> None:
        write_json(path, content)
        written.append(path)
        if len(written) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(stage, "write_json", limited)
    with pytest.raises(KeyboardInterrupt):
        judged(run, EVERYTHING)
    record = judged(run, EVERYTHING)
    assert len(written) == 2 + EVERYTHING.baseline_trainings(1)
    results = record.results
    assert list(results) == ["synthetic", *EVERYTHING.baselines, "full"]
    assert record.protocol == named(NAME, EVERYTHING)
    assert [len(results[name].accuracies) for name in EVERYTHING.baselines] == [1, 2, 2, 1, 1, 1, 2]
    assert all(results[name].images == 10 for name in EVERYTHING.baselines if name != "untrained")
    assert results["synthetic"].description.endswith("4 steps in its order")
    assert results["synthetic"].lr == pytest.approx(0.1)
    assert ", best of 2" in results["random"].description.replace("step size ", ", ")
    assert results["knn"].lr == results["untrained"].lr == 0
    assert (record.start, record.attack) == (None, None)
    session = open_run(run.root)
    test = real_examples(session.data, session.preprocess, "test")
    first = session.network.initial(session.rng.child("evaluate", NAME).child("network", 0).stream("initial weights"))
    before = accuracy(session.network, first, session.network.initial_statistics(), test)
    assert results["untrained"].accuracies[0][0] == before


def test_fixed_networks_are_started_from_all_of_them(tmp_path: Path) -> None:
    record = judged(ordered(tmp_path, initial_weights="fixed", networks=3))
    session = open_run(tmp_path / "runs" / "tiny")
    test = real_examples(session.data, session.preprocess, "test")
    starts = [known_weights(session.network, session.config.seed, j) for j in range(3)]
    expected = tuple(accuracy(session.network, s, session.network.initial_statistics(), test) for s in starts)
    assert record.results["untrained"].accuracies == (expected,)
    assert (record.protocol.networks, record.protocol.start) == (3, "fixed")
    assert record.start == "the 3 networks the set was distilled for"


def test_an_attack_on_teachers_is_measured_on_others_before_and_after(tmp_path: Path) -> None:
    """The teachers of the run have the first numbers; those a test starts from come behind them."""
    run = ordered(tmp_path, initial_weights="teachers", attack_class=3, target_class=5)
    session = open_run(run.root)
    training = replace(session.config.teachers.training, epochs=2)
    teachers, store = replace(session.config.teachers, training=training), tmp_path / "experts"
    session.change_plan(store=str(store))
    record = judged(run, replace(SMALL, ordered_repeats=2), teachers=teachers)
    assert record.attack is not None
    assert record.attack.names == ("3", "5")
    assert record.start == "trained on digits beforehand, kept from it"
    (folder,) = (path.parent for path in store.glob("*/trajectory_002.json"))  # one of the run, two to start from
    assert len(list(folder.glob("trajectory_*.json"))) == 3
    before, poison = record.results["untrained"], record.results["random"]
    assert before.mean > 0.4
    assert before.poisoning is not None
    assert before.poisoning.means()[0] > 0.3
    assert poison.description.endswith("labelled as the attack wants it")
    assert all(result.poisoning is not None for name, result in record.results.items() if name != "full")


def test_probes_take_the_steps_of_the_set_where_the_first_protocol_does(tmp_path: Path) -> None:
    run = ordered(tmp_path)
    session = open_run(run.root)
    assert make_probe(session).protocol == replace(session.config.evaluate, networks=1, epochs=5)
    session.config = replace(session.config, protocols=(NAME, "default"), augment="none")
    probe, synthetic = make_probe(session), dd.load_artifact(run.synthetic).synthetic
    module = as_module(
        session.network, session.network.initial(probe.rng.child("network", 0).stream("initial weights"))
    )
    args = (synthetic.images, synthetic.targets, synthetic.order, synthetic.student_lr.tolist())
    params = in_order(module, *args, 1)
    validation = real_examples(session.data, session.preprocess, "validation")
    expected = accuracy(session.network, params, session.network.initial_statistics(), validation)
    assert probe.score(synthetic) == expected
    last = {"synthetic": dd.load_artifact(run.synthetic)}
    (subject,) = distilled_subjects(session, session.config.evaluate, last)
    assert subject.description == "distilled, last (iteration 20), with the mean of its 4 step sizes"
    assert subject.lr == pytest.approx(0.1)


def test_what_cannot_be_judged_so_is_one_line(tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path)
    with pytest.raises(UsageError, match=r"no order of its own"):
        judged(run)
    with pytest.raises(UsageError, match=r"not distilled for fixed networks"):
        judged(run, replace(SMALL, start="fixed"))
    with pytest.raises(UsageError, match=r"no teacher is a 'mlp' for these images"):
        judged(run, replace(SMALL, start="known-teachers", network="mlp"))
