"""Training experts: what is kept, and that a kill at any moment changes no byte."""

import fcntl
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

import tiny
from datadistill.core.errors import NonFiniteError
from datadistill.experts import ExpertStore, train_experts
from datadistill.experts import train as training
from datadistill.experts.store import Sidecar, sidecar_path, trajectory_path
from datadistill.experts.train import train_one
from datadistill.runtime.atomic import read_json, read_tensors
from datadistill.runtime.executor import InProcess, SideBySide, SpawnPool
from datadistill.runtime.progress import Silent
from datadistill.runtime.records import load_record
from datadistill.training.accuracy import accuracy
from datadistill.training.fit import Examples
from datadistill.training.schedules import GSAM, Adam, TrainingRecipe
from reference.training import as_module, running_statistics, train

EPOCHS = 4
BATCH_NORM = "convnet-1-w4-batchnorm"


def task_in(folder, **options):
    return tiny.expert_task(folder, **{"epochs": EPOCHS, "augment": "dsa", "validation": 9, **options})


def files(task):
    """Every trajectory with its content, and everything else that is there by name."""
    return {path.name: path.read_bytes() for path in task.folder.glob("*.safetensors")}


def names(task):
    return sorted(path.name for path in task.folder.iterdir() if not path.name.endswith(".lock"))


class InterruptionError(Exception):
    pass


class Stopping(Silent):
    """A reporter whose bar raises after so many epochs."""

    def __init__(self, after):
        self.left = after
        self.notes = []

    @contextmanager
    def bar(self, title, total, done=0):
        self.opened = (title, total, done)
        yield self

    def advance(self, steps=1, note=""):
        self.notes.append((steps, note))
        self.left -= steps
        if self.left == 0:
            raise InterruptionError


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The trajectories of two experts trained in one go, by the kind of snapshots."""
    found = {}
    for snapshots in ("all", "last"):
        task = task_in(tmp_path_factory.mktemp("whole"), network=BATCH_NORM, snapshots=snapshots)
        train_experts(task, 2, Silent())
        found[snapshots] = files(task)
    return found


class TestSnapshots:
    def test_equal_a_reference_training(self, tmp_path):
        """torch.optim.SGD on a module with torch's batch norm, on the batches the expert saw."""
        task = task_in(tmp_path, network=BATCH_NORM, augment="none")
        seen, examples = [], task.train

        def prepare(numbers):
            images = examples.prepare(examples.images[numbers])
            seen.append((images, examples.targets[numbers]))
            return images

        spied = replace(task, train=Examples(torch.arange(len(examples)), examples.targets, prepare))
        losses = list(train_one(spied, 1))
        tensors, _ = read_tensors(trajectory_path(task.folder, 1))
        per_epoch = len(seen) // EPOCHS
        assert sum(len(labels) for _, labels in seen[:per_epoch]) == len(examples)
        epochs = [seen[e * per_epoch : (e + 1) * per_epoch] for e in range(EPOCHS)]
        module = as_module(task.network, tensors["params"][0])
        expected = train(module, epochs, lr=0.05, momentum=0.5)
        assert tensors["params"].shape == (EPOCHS + 1, task.network.parameter_count)
        for row, loss, (params, mean) in zip(tensors["params"][1:], losses, expected, strict=True):
            torch.testing.assert_close(row, params, rtol=1e-4, atol=1e-5)
            assert loss == pytest.approx(mean, rel=1e-4)
        torch.testing.assert_close(tensors["statistics"], running_statistics(module), rtol=1e-4, atol=1e-5)

    def test_start_at_fresh_weights_that_differ_between_experts_and_seeds(self, tmp_path):
        starts = []
        for seed in (0, 1):
            task = task_in(tmp_path, seed=seed, epochs=1)
            train_experts(task, 2, Silent())
            starts += [read_tensors(trajectory_path(task.folder, j))[0]["params"][0] for j in (0, 1)]
        assert len({tuple(start.tolist()) for start in starts}) == 4

    def test_last_is_the_last_row_of_all(self, uninterrupted, tmp_path):
        for j in (0, 1):
            rows = {}
            for snapshots in ("all", "last"):
                path = tmp_path / f"{snapshots}_{j}.safetensors"
                path.write_bytes(uninterrupted[snapshots][f"trajectory_{j:03d}.safetensors"])
                rows[snapshots] = read_tensors(path)[0]
            assert rows["last"]["params"].shape[0] == 1
            assert torch.equal(rows["last"]["params"][0], rows["all"]["params"][-1])
            assert torch.equal(rows["last"]["statistics"], rows["all"]["statistics"])

    def test_sidecar(self, tmp_path):
        task = task_in(tmp_path)
        losses = list(train_one(task, 3))
        sidecar = load_record(Sidecar, sidecar_path(task.folder, 3))
        store = ExpertStore(task.folder, (sidecar,) * 4)
        assert (sidecar.index, sidecar.epochs) == (3, tuple(range(EPOCHS + 1)))
        assert sidecar.parameters == task.network.parameter_count
        assert sidecar.train_loss == tuple(losses)
        assert len(losses) == EPOCHS
        assert losses[-1] < losses[0]
        assert sidecar.validation_accuracy == accuracy(task.network, *store.final(3), task.validation)
        assert sidecar.seconds > 0

    def test_without_validation_images_there_is_no_accuracy(self, tmp_path):
        task = task_in(tmp_path, validation=0, epochs=1)
        train_experts(task, 1, Silent())
        assert load_record(Sidecar, sidecar_path(task.folder, 0)).validation_accuracy is None


@pytest.mark.parametrize("snapshots", ["all", "last"])
class TestInterruption:
    @pytest.mark.parametrize("after", range(EPOCHS + 1))
    def test_a_generator_given_up_after_any_epoch(self, uninterrupted, tmp_path, snapshots, after):
        task = task_in(tmp_path, network=BATCH_NORM, snapshots=snapshots)
        attempt = train_one(task, 0)
        losses = [next(attempt) for _ in range(after)]
        attempt.close()
        assert not sidecar_path(task.folder, 0).exists()
        again = list(train_one(task, 0))
        assert len(again) == EPOCHS
        assert again[:after] == losses
        name = "trajectory_000.safetensors"
        assert files(task)[name] == uninterrupted[snapshots][name]
        assert names(task) == ["trajectory_000.json", name]

    @pytest.mark.parametrize("after", [1, EPOCHS, EPOCHS + 2])
    def test_an_exception_anywhere(self, uninterrupted, tmp_path, snapshots, after):
        task = task_in(tmp_path, network=BATCH_NORM, snapshots=snapshots)
        with pytest.raises(InterruptionError):
            train_experts(task, 2, Stopping(after))
        train_experts(task, 2, Silent())
        assert files(task) == uninterrupted[snapshots]

    def test_an_exception_that_somebody_keeps_does_not_keep_the_lock(self, tmp_path, snapshots):
        """As a notebook keeps the last traceback, with all its frames."""
        task = task_in(tmp_path, snapshots=snapshots)
        with pytest.raises(InterruptionError) as kept:
            train_experts(task, 1, Stopping(1))
        with (task.folder / ".trajectory_000.lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert kept.tb is not None

    @pytest.mark.parametrize(
        ("call", "times"),
        [("write_tensors", {EPOCHS + 2}), ("save_record", {1}), ("rmtree", {1}), ("unlink", {0, EPOCHS})],
    )
    def test_a_kill_between_two_files(self, uninterrupted, tmp_path, snapshots, call, times, monkeypatch):
        """Before every write, and between a write and the removal that follows it."""
        owner = {"rmtree": shutil, "unlink": type(tmp_path)}.get(call, training)
        original, left = getattr(owner, call), [0]

        def killed(*arguments, **options):
            path = arguments[0]
            ours = tmp_path in path.parents and not path.name.startswith(".") and path.suffix != ".lock"
            left[0] -= ours
            if ours and left[0] < 0:
                raise InterruptionError
            return original(*arguments, **options)

        for kills in range(50):
            task = task_in(tmp_path / f"killed at {kills}", network=BATCH_NORM, snapshots=snapshots)
            left[0] = kills
            with monkeypatch.context() as patch:
                patch.setattr(owner, call, killed)
                try:
                    train_experts(task, 1, Silent())
                    break
                except InterruptionError:
                    pass
            train_experts(task, 1, Silent())
            expected = {"trajectory_000.safetensors": uninterrupted[snapshots]["trajectory_000.safetensors"]}
            assert files(task) == expected
            assert names(task) == ["manifest.json", "recipe.json", "trajectory_000.json", "trajectory_000.safetensors"]
        assert kills in times


@pytest.mark.parametrize("option", [{"gsam": GSAM(rho=0.05, alpha=0.3)}, {"adam": Adam()}], ids="+".join)
@pytest.mark.parametrize("after", [1, EPOCHS - 1])
def test_an_expert_trained_otherwise_goes_on_bit_for_bit(tmp_path, after, option):
    plainly = TrainingRecipe(epochs=EPOCHS, batch_size=16, lr=0.05, momentum=0.5)
    recipe = replace(plainly, **option)
    whole, broken = (task_in(tmp_path / name, network=BATCH_NORM, training=recipe) for name in ("whole", "broken"))
    train_experts(whole, 1, Silent())
    attempt = train_one(broken, 0)
    for _ in range(after):
        next(attempt)
    attempt.close()
    train_experts(broken, 1, Silent())
    assert files(broken) == files(whole)
    plain = task_in(tmp_path / "plain", network=BATCH_NORM, training=plainly)
    train_experts(plain, 1, Silent())
    assert files(plain) != files(whole)


def test_a_folder_left_behind_by_a_finished_expert_is_removed(tmp_path):
    task = task_in(tmp_path, epochs=1)
    train_experts(task, 1, Silent())
    before = names(task)
    stale = task.folder / "trajectory_000.partial"
    stale.mkdir()
    (stale / "epoch_0001.safetensors").write_bytes(b"old")
    train_experts(task, 1, Silent())
    assert names(task) == before


def test_an_expert_that_somebody_else_has_finished_meanwhile_is_taken(tmp_path):
    task = task_in(tmp_path, epochs=2)
    losses = list(train_one(task, 0))
    before = {path: path.stat().st_mtime_ns for path in task.folder.glob("trajectory*")}
    assert list(train_one(task, 0)) == losses
    assert {path: path.stat().st_mtime_ns for path in task.folder.glob("trajectory*")} == before


class TestAdding:
    def test_more_experts_never_train_the_first_again(self, tmp_path, monkeypatch):
        task = task_in(tmp_path, epochs=2)
        train_experts(task, 1, Silent())
        before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in task.folder.glob("trajectory*")}
        trained = []
        original = training.train_one
        monkeypatch.setattr(training, "train_one", lambda task, j: trained.append(j) or original(task, j))
        reporter = Stopping(99)
        train_experts(task, 3, reporter)
        assert trained == [1, 2]
        assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
        assert reporter.opened[1:] == (6, 2)
        assert sum(steps for steps, _ in reporter.notes) == 4
        assert read_json(task.folder / "manifest.json")["experts"] == 3
        train_experts(task, 2, Silent())
        assert trained == [1, 2]

    def test_how_many_are_trained_does_not_matter_to_any(self, tmp_path, uninterrupted):
        task = task_in(tmp_path, network=BATCH_NORM)
        list(train_one(task, 1))
        name = "trajectory_001.safetensors"
        assert files(task)[name] == uninterrupted["all"][name]


@pytest.mark.parametrize(
    ("snapshots", "workers"),
    [("all", 1), *(pytest.param(kind, 2, marks=pytest.mark.slow) for kind in ("all", "last"))],
)
def test_a_pool_of_processes_writes_the_same_files(uninterrupted, tmp_path, snapshots, workers):
    task = task_in(tmp_path, network=BATCH_NORM, snapshots=snapshots)
    reporter = Stopping(99)
    train_experts(task, 2, reporter, SpawnPool(workers))
    assert files(task) == uninterrupted[snapshots]
    assert sum(steps for steps, _ in reporter.notes) == 2 * EPOCHS
    assert not list(task.folder.glob("*.partial"))


@pytest.mark.parametrize("snapshots", ["all", "last"])
def test_experts_side_by_side_are_those_one_after_another(tmp_path, snapshots):
    found = []
    for together in (1, 3):
        task = task_in(tmp_path / str(together), network=BATCH_NORM, snapshots=snapshots)
        reporter = Stopping(99)
        assert train_experts(task, 4, reporter, SideBySide(together))
        assert [steps for steps, _ in reporter.notes] == [1] * (4 * EPOCHS)
        assert not list(task.folder.glob("*.partial"))
        found.append(files(task))
    assert found[0] == found[1]
    assert len(found[0]) == 4


@pytest.mark.parametrize("after", [1, EPOCHS + 1])
def test_experts_side_by_side_go_on_where_they_were_stopped_or_interrupted(tmp_path, after):
    whole, task = (task_in(tmp_path / name, network=BATCH_NORM) for name in ("whole", "cut"))
    train_experts(whole, 3, Silent(), SideBySide(1))
    asked = iter(range(99))
    assert not train_experts(task, 3, Silent(), SideBySide(2), stop=lambda: next(asked) + 1 >= after)
    assert next(asked) == after  # no epoch after that
    with pytest.raises(InterruptionError):
        train_experts(task, 3, Stopping(after), SideBySide(2))
    assert train_experts(task, 3, Silent(), SideBySide(2))
    assert files(task) == files(whole)


def test_in_process_is_the_default(tmp_path, uninterrupted):
    task = task_in(tmp_path, network=BATCH_NORM)
    train_experts(task, 2, Silent(), InProcess())
    assert files(task) == uninterrupted["all"]


def test_an_expert_that_diverges_is_named_and_leaves_no_trajectory(tmp_path):
    task = task_in(tmp_path, training=TrainingRecipe(epochs=5, batch_size=16, lr=1e30))
    with pytest.raises(NonFiniteError, match=r"expert 0, epoch \d: the loss is (nan|inf); try a smaller lr"):
        train_experts(task, 1, Silent())
    assert not list(task.folder.glob("trajectory_*.safetensors"))
    assert not sidecar_path(task.folder, 0).exists()
