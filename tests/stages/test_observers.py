"""What looks on: the probe keeps the best, the checkpoint keeps the good, nothing changes the run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import datadistill as dd
from datadistill.config import load_recipe
from datadistill.core.errors import CorruptFileError, NonFiniteError
from datadistill.distill import Progress
from datadistill.methods import MTT
from datadistill.runtime.atomic import read_tensors, write_bytes, write_tensors
from datadistill.runtime.metrics import read_rows
from datadistill.runtime.rundir import RunDir
from datadistill.stages import open_run, run_distill
from datadistill.stages.distill import make_probe, make_problem
from datadistill.stages.observers import Checkpoint, Probe, read_checkpoint
from datadistill.synthetic.artifact import SyntheticSet
from system.tiny_run import RECIPE, TINY, contents, copy_of_finished, finished, set_stage


class Seen(Progress):
    """A progress that needs no method."""

    def __init__(self, iteration: int, value: float) -> None:
        self.iteration, self.metrics = iteration, []
        self.value = torch.full((3, 1, 2, 2), value)

    @property
    def state(self) -> "Seen":
        return self

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"images": self.value}

    def export(self) -> SyntheticSet:
        return SyntheticSet(self.value.clone(), torch.eye(3))


def look(observer: Any, iteration: int, value: float) -> None:
    """Show an observer an iteration; what it is annotated to take is a class of its own."""
    getattr(observer.__call__, "__wrapped__", observer.__call__.__func__)(observer, Seen(iteration, value))


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Probe:
    """A probe whose score is the value of the images."""
    session = open_run(copy_of_finished(tmp_path).root)
    found = make_probe(session)
    assert found is not None
    found.path = tmp_path / "metrics.jsonl"
    monkeypatch.setattr(Probe, "score", lambda self, synthetic: float(synthetic.images.max()))
    return found


def test_the_probe_keeps_the_first_of_the_best(probe: Probe) -> None:
    for iteration, value in ((10, 0.2), (15, 0.9), (20, 0.5), (30, 0.5), (40, 0.3)):
        look(probe, iteration, value)
    assert (probe.accuracy, probe.iteration) == (0.5, 20)
    assert torch.equal(probe.best["images"], torch.full((3, 1, 2, 2), 0.5))
    rows = [(row["iteration"], row["validation_accuracy"]) for row in read_rows(probe.path)]
    assert rows == [(10, pytest.approx(0.2)), (20, 0.5), (30, 0.5), (40, pytest.approx(0.3))]


def test_the_probe_keeps_a_set_that_scored_nothing_rather_than_none(probe: Probe) -> None:
    look(probe, 10, 0.0)
    assert probe.iteration == 10
    assert set(probe.best) == {"images", "targets"}


def test_the_probe_remembers_across_a_checkpoint(probe: Probe, tmp_path: Path) -> None:
    look(probe, 10, 0.7)
    path = tmp_path / "state.safetensors"
    look(Checkpoint(path, 10, probe, "mine"), 10, 0.7)
    iteration, state, remembered = read_checkpoint(path, "mine")
    assert (iteration, set(state)) == (10, {"images"})
    probe.accuracy, probe.iteration, probe.best = -1.0, 0, {}
    probe.restore(remembered)
    assert (probe.accuracy, probe.iteration) == (pytest.approx(0.7), 10)
    assert torch.equal(probe.best["targets"], torch.eye(3))


def test_the_probe_is_left_out_without_validation_images_or_interest(tmp_path: Path) -> None:
    for number, setting in enumerate(("validation=0", "watch.probe_every=0")):
        session = open_run(tmp_path / str(number), load_recipe(RECIPE, (*TINY, setting)), device="cpu")
        assert make_probe(session) is None


def test_the_checkpoint_is_written_when_it_is_time(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    checkpoint = Checkpoint(path, 10)
    look(checkpoint, 9, 1.0)
    assert not path.exists()
    look(checkpoint, 10, 2.0)
    look(checkpoint, 11, 3.0)
    iteration, state, remembered = read_checkpoint(path)
    assert (iteration, float(state["images"].max()), remembered) == (10, 2.0, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_bad_state_never_replaces_a_good_one(tmp_path: Path, value: float) -> None:
    path = tmp_path / "state.safetensors"
    checkpoint = Checkpoint(path, 10)
    look(checkpoint, 10, 2.0)
    before = contents(tmp_path)
    with pytest.raises(NonFiniteError, match="iteration 20: images holds numbers that are not finite"):
        look(checkpoint, 20, value)
    assert contents(tmp_path) == before


def test_a_checkpoint_with_a_bad_state_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    write_tensors(path, {"state.images": torch.tensor([torch.nan])}, {"iteration": "5", "owner": ""})
    with pytest.raises(NonFiniteError, match=f"^{path}: iteration 5: images"):
        read_checkpoint(path)


def test_a_run_that_leaves_the_finite_numbers_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    settings = (*TINY, "method.mtt.image_lr=1e30", f"store={finished().root.parent}/experts")
    session = open_run(tmp_path / "run", load_recipe(RECIPE, settings), device="cpu")
    with pytest.raises(dd_numerical()):
        run_distill(session)
    stage = session.run.status().stages["distill"]
    assert stage.state == "failed"
    assert stage.error is not None
    assert stage.error.startswith("iteration ")
    assert not session.run.synthetic.exists()
    assert not list(session.run.checkpoint.glob("*"))


def dd_numerical() -> type[Exception]:
    from datadistill.core.errors import NumericalError

    assert NumericalError.exit_code == 3
    return NumericalError


def test_pictures_and_metrics_are_where_they_are_documented() -> None:
    run = finished()
    names = [path.name for path in sorted(run.frames.iterdir())]
    assert names == ["iteration_000000.png", "iteration_000010.png", "iteration_000020.png"]
    rows = read_rows(run.metrics)
    assert [row["iteration"] for row in rows if "matching_loss" in row] == list(range(1, 21))
    assert [row["iteration"] for row in rows if "validation_accuracy" in row] == [10, 20]
    assert all(0 <= row["validation_accuracy"] <= 1 for row in rows if "validation_accuracy" in row)


def test_the_selected_set_is_the_one_that_did_best_on_validation() -> None:
    run = finished()
    scores = {row["iteration"]: row["validation_accuracy"] for row in read_rows(run.metrics) if len(row) == 2}
    best = max(scores, key=lambda iteration: (scores[iteration], -iteration))
    selected = dd.load_artifact(run.variant("selected"))
    assert selected.card.iteration == best
    last = dd.load_artifact(run.synthetic)
    assert last.card.iteration == 20
    same = torch.equal(selected.synthetic.images, last.synthetic.images)
    assert same == (best == 20)


def again(run: RunDir) -> None:
    set_stage(run, "distill", "running")
    run_distill(open_run(run.root))


def _wait(run: RunDir) -> None:
    """Nothing is missing."""


ASIDE = ".state.safetensors.1.tmp"
"""Where a process writes the checkpoint before it is whole."""

LEFT: dict[str, Callable[[RunDir], None]] = {
    "everything but the status": _wait,
    "no card": lambda run: (run.synthetic / "card.json").unlink(),
    "no artifact": lambda run: [path.unlink() for path in run.synthetic.iterdir()] and None,
    "half the selected": lambda run: (run.variant("selected") / "card.json").unlink(),
    "rows after the checkpoint": lambda run: run.metrics.write_text(run.metrics.read_text() * 2) and None,
    "a row cut short": lambda run: run.metrics.write_text(run.metrics.read_text() + '{"itera') and None,
    "no frames": lambda run: [path.unlink() for path in run.frames.iterdir()] and None,
    "no checkpoint yet": lambda run: (run.checkpoint / "state.safetensors").unlink(),
    "something aside": lambda run: write_bytes(run.checkpoint / ASIDE / ".tmpJHZcHH", b"half"),
}


@pytest.mark.parametrize("left", [name for name in LEFT if name != "rows after the checkpoint"])
def test_a_distillation_killed_between_two_files_ends_in_the_same_files(tmp_path: Path, left: str) -> None:
    run = copy_of_finished(tmp_path)
    before = contents(run.distill)
    LEFT[left](run)
    again(run)
    after = contents(run.distill)
    frame = {"frames/iteration_000010.png"} if left == "no frames" else set()  # drawn before the checkpoint
    aside = {f"checkpoint/{ASIDE}/.tmpJHZcHH"} if left == "something aside" else set()
    assert set(before) - frame == set(after) - aside
    assert {name for name in after if name in before and before[name] != after[name]} == set()


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path)
    before = contents(run.distill)
    path = run.checkpoint / "state.safetensors"
    tensors, metadata = read_tensors(path)
    run.metrics.write_text(run.metrics.read_text() + '{"iteration": 21, "matching_loss": 0.5}\n')
    again(run)
    assert contents(run.distill) == before
    assert metadata["iteration"] == "20"
    assert tensors


def test_watching_otherwise_gives_the_same_set(tmp_path: Path) -> None:
    settings = (*TINY, "watch.probe_every=0", "watch.log_every=5", "watch.checkpoint_every=5", "watch.frame_every=3")
    store = f"store={finished().root.parent}/experts"
    session = open_run(tmp_path / "run", load_recipe(RECIPE, (*settings, store)), device="cpu")
    run_distill(session)
    name = "synthetic.safetensors"
    assert (session.run.synthetic / name).read_bytes() == (finished().synthetic / name).read_bytes()
    assert not session.run.variant("selected").exists()


# --- checkpoints that are not one's own


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "foreign format", "another run's", "other data's"])
def test_a_bad_checkpoint_is_refused_by_name_and_kept(tmp_path: Path, damage: str) -> None:
    run = copy_of_finished(tmp_path)
    path = run.checkpoint / "state.safetensors"
    content = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "foreign format":
        torch.save({"images": torch.zeros(3)}, path)
    elif damage == "another run's":
        run.config.write_text(run.config.read_text().replace("seed = 0\ndataset", "seed = 1\ndataset"))
        assert load_recipe(str(run.config)).seed == 1
    else:
        write_tensors(path, {"state.images": torch.zeros(3)}, {"iteration": "10"})
    set_stage(run, "distill", "failed")
    before = contents(run.distill)
    with pytest.raises(CorruptFileError) as found:
        run_distill(open_run(run.root))
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)
    assert contents(run.distill) == before


def test_the_problem_is_the_same_every_time() -> None:
    session = open_run(finished().root)
    one, other = make_problem(session), make_problem(session)
    assert torch.equal(one.initial_images, other.initial_images)


def test_pictures_are_drawn_without_labelling_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled: list[int] = []
    label = MTT._labelled

    def spied(self: Any, problem: Any, synthetic: Any) -> Any:
        labelled.append(len(synthetic))
        return label(self, problem, synthetic)

    monkeypatch.setattr(MTT, "_labelled", spied)
    settings = (*TINY, "method.mtt.labels=teacher", "watch.frame_every=1", f"store={finished().root.parent}/experts")
    session = open_run(tmp_path / "run", load_recipe(RECIPE, settings), device="cpu")
    run_distill(session)
    assert len(list(session.run.frames.iterdir())) == 21
    assert labelled == [10, 10, 10]  # two probes and the end
