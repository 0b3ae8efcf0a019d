"""Sets that are kept on the way, and the choice among them on the test set."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import datadistill as dd
from datadistill.config import load_recipe
from datadistill.core.errors import CorruptFileError
from datadistill.evaluate import run as judging
from datadistill.evaluate.protocol import Evaluation, Result
from datadistill.runtime.atomic import read_json, write_json
from datadistill.runtime.rundir import RunDir
from datadistill.stages import evaluate as stage
from datadistill.stages import open_run, run_distill, run_evaluate, run_import
from datadistill.stages.session import read_config
from datadistill.synthetic.artifact import save_artifact
from system.tiny_run import RECIPE, TINY, contents, finished, flip_byte, set_stage

KEPT = ("threads=1", "protocols=upstream-peak,default", "watch.log_every=5", "watch.variant_every=5")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dd.Outcome:
    """A run that has kept its sets and chosen; read it, never change it."""
    out = tmp_path_factory.mktemp("variants") / "runs" / "kept"
    return dd.run(RECIPE, *TINY, *KEPT, f"store={finished().root.parent}/experts", out=out, device="cpu")


@pytest.fixture
def run(whole: dd.Outcome, tmp_path: Path) -> RunDir:
    """A copy of it."""
    return RunDir(Path(shutil.copytree(whole.run.root, tmp_path / "kept")))


def timeless(record: Evaluation) -> dict[str, Result]:
    return {name: replace(result, seconds=0.0) for name, result in record.results.items()}


def test_kept_sets_are_artifacts_of_their_iteration(whole: dd.Outcome, tmp_path: Path) -> None:
    kept = {path.name for path in whole.run.variants.iterdir()}
    assert kept == {"selected", *(f"iteration_{iteration:06d}" for iteration in (5, 10, 15, 20))}
    assert [dd.load_artifact(whole.run.kept(i)).card.iteration for i in (5, 10, 15, 20)] == [5, 10, 15, 20]
    assert contents(whole.run.kept(20)) == contents(whole.run.synthetic)
    shorter = open_run(tmp_path / "run", replace(load_recipe(str(whole.run.config)), iterations=10), device="cpu")
    run_distill(shorter)
    assert contents(whole.run.kept(10)) == contents(shorter.run.synthetic)


def test_a_distillation_killed_while_a_set_was_kept_ends_in_the_same_files(whole: dd.Outcome, run: RunDir) -> None:
    (run.checkpoint / "state.safetensors").unlink()
    (run.kept(5) / "card.json").unlink()
    flip_byte(run.kept(10) / "synthetic.safetensors")
    shutil.rmtree(run.kept(15))
    set_stage(run, "distill", "running")
    run_distill(open_run(run.root))
    assert contents(run.distill) == contents(whole.run.distill)


def test_the_best_is_that_of_judging_each_by_hand(whole: dd.Outcome) -> None:
    session, record = open_run(whole.run.root), whole.evaluations["upstream-peak"]
    protocol = session.config.protocol("upstream-peak")
    assert (protocol.networks, protocol.epochs, protocol.extra_epoch) == (2, 5, True)  # the recipe's, and upstream's
    means = {}
    for iteration in (5, 10, 15, 20):
        synthetic = dd.load_artifact(whole.run.kept(iteration)).synthetic
        examples, lr = judging.synthetic_examples(synthetic), judging.step_size(protocol, synthetic)
        (result,) = judging.judge(
            [judging.Subject("by hand", "", (examples,), lr)],
            protocol,
            network=session.network,
            augment=session.config.augment,
            test=judging.real_examples(session.data, session.preprocess, "test"),
            rng=session.rng.child("evaluate", "upstream-peak"),
        )
        means[iteration] = result.mean
    assert dict(record.candidates) == means
    assert set(record.results) == {"synthetic", "peak"}
    best = max(means, key=lambda iteration: (means[iteration], -iteration))
    peak, last = record.results["peak"], record.results["synthetic"]
    assert (peak.subject, peak.mean) == ("peak", means[best])
    assert peak.description == f"distilled, best of 4 on the test set (iteration {best})"
    assert (last.description, last.mean) == ("distilled, last (iteration 20)", means[20])


def test_the_accuracy_of_a_run_is_never_the_one_chosen_on_the_test_set(whole: dd.Outcome) -> None:
    assert list(whole.evaluations) == ["upstream-peak", "default"]
    assert whole.accuracy == whole.evaluations["upstream-peak"].results["synthetic"].mean
    default = whole.evaluations["default"]
    assert set(default.results) >= {"synthetic", "random", "full"}
    assert "peak" not in default.results
    assert default.candidates == ()


class Judged:
    """Counts trainings, and ends the process after so many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit: int | None = None) -> None:
        self.trainings = 0

        def written(path: Path, content: Any) -> None:
            write_json(path, content)
            self.trainings += 1
            if self.trainings == limit:
                raise KeyboardInterrupt

        monkeypatch.setattr(stage, "write_json", written)


def evaluated(run: RunDir, *more: str) -> Evaluation:
    session = open_run(run.root)
    session.config = replace(session.config, protocols=("upstream-peak", *more))
    return run_evaluate(session)[0]


def test_an_interrupted_choice_goes_on_training_by_training(
    whole: dd.Outcome, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    Judged(monkeypatch, limit=3)
    with pytest.raises(KeyboardInterrupt):
        evaluated(run)
    assert len(read_json(run.root / "evaluate" / ".upstream-peak.partial.json")["scores"]) == 3
    rest = Judged(monkeypatch)
    record = evaluated(run)
    assert rest.trainings == 4 * 2 - 3
    assert timeless(record) == timeless(whole.evaluations["upstream-peak"])
    assert record.candidates == whole.evaluations["upstream-peak"].candidates


def test_protocols_that_were_finished_before_an_interrupt_are_not_run_again(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    Judged(monkeypatch, limit=4 * 2 + 3)
    with pytest.raises(KeyboardInterrupt):
        evaluated(run, "upstream-peak@mlp")
    rest = Judged(monkeypatch)
    evaluated(run, "upstream-peak@mlp")
    assert rest.trainings == 4 * 2 - 3
    assert not list((run.root / "evaluate").glob(".*"))


def test_what_was_found_out_about_other_sets_is_not_taken_over(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    Judged(monkeypatch, limit=3)
    with pytest.raises(KeyboardInterrupt):
        evaluated(run)
    other = dd.load_artifact(run.kept(5))
    save_artifact(run.kept(5), replace(other, synthetic=replace(other.synthetic, images=-other.synthetic.images)))
    again = Judged(monkeypatch)
    evaluated(run)
    assert again.trainings == 4 * 2


def test_a_kept_set_that_is_missing_is_named(run: RunDir) -> None:
    shutil.rmtree(run.kept(10))
    with pytest.raises(CorruptFileError, match=r"iteration_000010/card\.json: no such file"):
        evaluated(run)


def test_an_imported_set_is_the_only_candidate(whole: dd.Outcome, run: RunDir, tmp_path: Path) -> None:
    from datadistill.interop import export_set

    export_set(whole.artifact, tmp_path / "set.npz")
    run_import(open_run(run.root), tmp_path / "set.npz")
    assert not run.variants.exists()
    record = evaluated(run)
    assert record.candidates == ((0, record.results["synthetic"].mean),)
    assert record.results["peak"].mean == record.results["synthetic"].mean


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> dd.Outcome:
    """A run that keeps an average of its images as well; read it, never change it."""
    out = tmp_path_factory.mktemp("averaged") / "runs" / "kept"
    more = ("protocols=upstream-peak", "watch.variant_every=10", "method.mtt.average_decay=0.9")
    return dd.run(RECIPE, *TINY, *KEPT, *more, f"store={finished().root.parent}/experts", out=out, device="cpu")


def test_the_average_of_every_kept_iteration_is_a_candidate_as_well(averaged: dd.Outcome) -> None:
    run, record = averaged.run, averaged.evaluations["upstream-peak"]
    assert dd.load_artifact(run.kept(10, "averaged")).card.iteration == 10
    assert contents(run.kept(10, "averaged")) != contents(run.kept(10))
    assert contents(run.kept(20, "averaged")) == contents(run.variant("averaged"))
    assert [iteration for iteration, _ in record.candidates] == [10, 20]
    assert [(name, [i for i, _ in means]) for name, means in record.variant_candidates.items()] == [
        ("averaged", [10, 20])
    ]
    last = {"synthetic": record.candidates[-1][1], "averaged": record.variant_candidates["averaged"][-1][1]}
    assert last == {name: record.results[name].mean for name in ("synthetic", "averaged")}
    pairs = zip(record.candidates, record.variant_candidates["averaged"], strict=True)
    every = [
        (mean, f"iteration {i}{name}")
        for pair in pairs
        for (i, mean), name in zip(pair, ("", ", averaged"), strict=True)
    ]
    best, which = max(every, key=lambda one: one[0])
    peak = record.results["peak"]
    assert (peak.mean, peak.description) == (best, f"distilled, best of 4 on the test set ({which})")
    assert read_config(run).trainings("upstream-peak") == 2 * 4


def test_a_run_that_has_kept_no_averages_is_judged_by_what_it_has(averaged: dd.Outcome, tmp_path: Path) -> None:
    run = RunDir(Path(shutil.copytree(averaged.run.root, tmp_path / "kept")))
    shutil.rmtree(run.kept(10, "averaged"))
    record = evaluated(run)
    assert [iteration for iteration, _ in record.candidates] == [10, 20]
    assert [iteration for iteration, _ in record.variant_candidates["averaged"]] == [20]
