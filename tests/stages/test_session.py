"""Opening a run: what is written, in which order, and what is refused."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import datadistill as dd
from datadistill.config import RunConfig, from_toml, load_recipe
from datadistill.core.errors import ArtifactError, ConfigError, CorruptFileError, RunError, UsageError
from datadistill.data import from_arrays
from datadistill.evaluate.run import real_examples
from datadistill.networks import build_network
from datadistill.pipeline import run_stages
from datadistill.runtime import atomic
from datadistill.runtime.atomic import read_tensors
from datadistill.runtime.plan import Plan
from datadistill.runtime.progress import Silent
from datadistill.runtime.records import Provenance, Status, load_record
from datadistill.runtime.rundir import RunDir
from datadistill.stages import Session, open_run, run_distill, run_evaluate, run_experts, run_import
from datadistill.training.accuracy import accuracy
from system.tiny_run import RECIPE, TINY, change_json, contents, copy_of_finished, finished, flip_byte, set_stage

FIRST_FILES = ["config.toml", "provenance.json", "status.json", "plan.json"]


def config(*settings: str) -> RunConfig:
    return load_recipe(RECIPE, (*TINY, *settings))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of files, in the order in which they were written."""
    names: list[str] = []
    whole = atomic.replacing

    def noted(path: Path) -> object:
        if path.name not in names:
            names.append(path.name)
        return whole(path)

    monkeypatch.setattr(atomic, "replacing", noted)
    yield names


def test_a_new_run_gets_its_files_in_the_documented_order(tmp_path: Path, written: list[str]) -> None:
    session = open_run(tmp_path / "run", config("seed=5", "threads=1"), device="cpu", data_root=tmp_path)
    assert written == FIRST_FILES
    assert sorted(contents(session.run.root)) == sorted(FIRST_FILES)
    assert from_toml(session.run.config.read_text(), source="") == config("seed=5", "threads=1")
    assert load_record(Provenance, session.run.provenance).seed == 5
    states = {name: stage.state for name, stage in load_record(Status, session.run.status_file).stages.items()}
    assert states == dict.fromkeys(("experts", "distill", "evaluate", "report"), "pending")
    plan = load_record(Plan, session.run.plan)
    assert (plan.device, plan.workers, plan.threads, plan.data_root) == ("cpu", 1, 1, str(tmp_path))
    assert plan.store == str(tmp_path / "experts")
    assert plan.strategy is None
    assert plan.data_checksum == session.data.card.checksum


def test_the_store_and_the_data_root_can_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATADISTILL_DATA", "/somewhere")
    plan = open_run(tmp_path / "run", config(f"store={tmp_path}/my", "workers=2"), device="cpu").plan
    assert (plan.store, plan.data_root, plan.workers) == (f"{tmp_path}/my", "/somewhere", 2)


@pytest.mark.parametrize("there", range(len(FIRST_FILES)))
def test_a_start_that_was_killed_between_two_files_is_taken_up(tmp_path: Path, there: int) -> None:
    run = open_run(tmp_path / "run", config(), device="cpu").run
    for name in FIRST_FILES[there:]:
        (run.root / name).unlink()
    session = open_run(run.root, config(), resume=True, device="cpu")
    assert sorted(contents(run.root)) == sorted(FIRST_FILES)
    assert session.config == config()


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    before = contents(tmp_path)
    for resume in (False, True):
        with pytest.raises(RunError, match=f"^{tmp_path}: is not empty and not a run directory; choose another --out"):
            open_run(tmp_path, config(), resume=resume, device="cpu")
    with pytest.raises(RunError, match="not a run directory"):
        open_run(tmp_path, device="cpu")
    assert contents(tmp_path) == before


def test_a_run_that_is_there_is_opened_only_to_be_resumed(tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path)
    before = contents(run.root)
    with pytest.raises(RunError, match="is there already; go on with --resume, or choose another --out"):
        open_run(run.root, config(), device="cpu")
    assert open_run(run.root, config(), resume=True).config == config()
    assert open_run(run.root).config == config()
    assert contents(run.root) == before


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("iterations=30", "iterations was 20, now 30"),
        ("method.mtt.image_lr=11", "method.mtt.image_lr was 10.0, now 11.0"),
        ("method.mtt.batch_syn=5", "method.mtt.batch_syn was not set, now 5"),
        ("watch.frame_every=none", "watch.frame_every was 10, now not set"),
        ("evaluate.lr=0.5", "evaluate.lr was not set, now 0.5"),
    ],
)
def test_other_settings_are_refused_and_the_difference_named(setting: str, expected: str) -> None:
    with pytest.raises(RunError) as found:
        open_run(finished().root, config(setting), resume=True)
    assert f"was started with other settings ({expected}); choose another --out" in str(found.value)


def test_other_data_are_refused(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (200, 1, 8, 8), generator=generator).byte()
    labels = torch.arange(200) % 10
    mine = from_arrays(images, labels, images[:50], labels[:50], name="mine")
    others = from_arrays(255 - images, labels, images[:50], labels[:50], name="mine")
    wanted = replace(config(), dataset="mine")
    session = open_run(tmp_path / "run", wanted, device="cpu", data=mine)
    assert len(session.data.train) == 140
    assert load_record(Plan, session.run.plan).data_checksum == mine.card.checksum
    assert open_run(tmp_path / "run", wanted, resume=True, data=mine).data.card.name == "mine"
    with pytest.raises(RunError, match="was started on other data than 'mine' is now"):
        _ = open_run(tmp_path / "run", wanted, resume=True, data=others).data


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("config.toml", b"\xff\xfe", ConfigError),
        ("config.toml", b"ipc = ", ConfigError),
        ("config.toml", b"ipc = 3", ConfigError),
        ("plan.json", b"{", CorruptFileError),
        ("plan.json", b"[]", CorruptFileError),
        ("plan.json", b'{"schema_version": 1}', CorruptFileError),
        ("plan.json", b'{"schema_version": 99}', ArtifactError),
    ],
)
def test_a_damaged_file_of_a_run_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, error: type[UsageError]
) -> None:
    run = copy_of_finished(tmp_path)
    (run.root / name).write_bytes(content)
    before = contents(run.root)
    with pytest.raises(error) as found:
        open_run(run.root)
    assert str(run.root / name) in str(found.value)
    assert "\n" not in str(found.value)
    assert contents(run.root) == before


def test_a_damaged_status_is_refused_by_name(tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path)
    run.status_file.write_text('{"schema_version": 1, "stages": {"distill": {"state": "dne"}}}')
    with pytest.raises(CorruptFileError, match=r"status\.json: stages\.distill\.state: unknown value 'dne'; did you"):
        run_stages(open_run(run.root))


def test_an_unknown_device_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--device tpu: not a device"):
        open_run(tmp_path / "run", config(), device="tpu")
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_its_device_threads_and_store(tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path)
    change_json(run.plan, threads=2)
    session = open_run(run.root, device="auto", data_root=tmp_path)
    assert torch.get_num_threads() == 2
    assert session.plan == replace(load_record(Plan, run.plan), data_root=str(tmp_path))


# --- what a stage leaves in status.json


def opened(tmp_path: Path) -> Session:
    return open_run(tmp_path / "run", config(), device="cpu")


def test_a_stage_is_running_then_done(tmp_path: Path) -> None:
    session = opened(tmp_path)
    with session.stage("distill"):
        assert session.run.status().stages["distill"].state == "running"
        assert not session.run.is_done("distill")
    stage = session.run.status().stages["distill"]
    assert (stage.state, stage.error, stage.resumed_from) == ("done", None, None)
    assert stage.seconds >= 0
    assert stage.peak_bytes > 1 << 20


@pytest.mark.parametrize("error", [ValueError("first line\nsecond"), KeyboardInterrupt()])
def test_a_stage_that_fails_says_why_in_one_line_and_is_taken_up(tmp_path: Path, error: BaseException) -> None:
    session = opened(tmp_path)
    with pytest.raises(type(error)), session.stage("distill"):
        raise error
    stage = session.run.status().stages["distill"]
    assert stage.state == "failed"
    assert stage.error == ("first line" if str(error) else "KeyboardInterrupt")
    with session.stage("distill"):
        inside = session.run.status().stages["distill"]
        assert (inside.state, inside.error) == ("running", None)
    after = session.run.status().stages["distill"]
    assert (after.state, after.error) == ("done", None)
    assert after.resumed_from is not None


def test_seconds_add_up_over_starts_but_not_over_a_finished_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 7.0, 100.0, 105.0, 200.0, 201.0])
    monkeypatch.setattr("datadistill.stages.session.perf_counter", lambda: next(times))
    session = opened(tmp_path)
    with pytest.raises(ValueError), session.stage("distill"):
        raise ValueError("stop")
    assert session.run.status().stages["distill"].seconds == 7
    with session.stage("distill"):
        pass
    assert session.run.status().stages["distill"].seconds == 12
    with session.stage("distill"):
        pass
    assert session.run.status().stages["distill"].seconds == 1
    assert session.run.status().stages["distill"].resumed_from is None


def test_a_stage_left_running_by_a_kill_is_recorded_as_taken_up(tmp_path: Path) -> None:
    session = opened(tmp_path)
    set_stage(session.run, "experts", "running")
    with session.stage("experts"):
        assert session.run.status().stages["experts"].resumed_from == "an interrupted or failed start"


def test_stages_do_what_they_say_and_nothing_twice(tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path)
    before = contents(run.root)
    outcome = run_stages(open_run(run.root))
    after = contents(run.root)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed <= {"status.json", "report/report.html"}
    assert before.keys() == after.keys()
    assert outcome.accuracy == outcome.evaluations["default"].results["synthetic"].mean


def test_distilling_without_experts_says_what_to_do(tmp_path: Path) -> None:
    session = opened(tmp_path)
    with pytest.raises(RunError, match="0 of 2 experts are there; run `datadistill experts` first"):
        run_distill(session)
    assert session.run.status().stages["distill"].state == "failed"
    run_experts(session)
    assert session.run.status().stages["experts"].state == "done"


def test_evaluating_without_an_artifact_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"card\.json: no such file"):
        run_evaluate(opened(tmp_path))


def test_an_expert_is_never_trained_twice_and_more_can_be_added(tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path, experts=True)
    store = tmp_path / "runs" / "experts"
    before = contents(store)
    more = open_run(tmp_path / "runs" / "more", config("experts.count=3"), device="cpu")
    run_experts(more)
    after = contents(store)
    kept = {name for name in before if name.startswith(_key(run)) and not name.endswith("manifest.json")}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert f"{_key(run)}/trajectory_002.safetensors" in set(after) - set(before)
    assert json.loads((store / _key(run) / "manifest.json").read_text())["experts"] == 3


def _key(run: RunDir) -> str:
    key: str = json.loads(run.experts.read_text())["content_key"]
    return key


@pytest.mark.parametrize(
    "setting", ["experts.lr=0.02", "experts.seed=1", "network=convnet-1-w4", "validation=61", "augment=none"]
)
def test_experts_of_other_settings_have_a_folder_of_their_own(tmp_path: Path, setting: str) -> None:
    from datadistill.stages.experts import expert_task

    key = expert_task(open_run(tmp_path / "run", config(setting), device="cpu")).recipe.key
    assert key != _key(finished())


@pytest.mark.parametrize("setting", ["experts.count=9", "seed=7", "ipc=3", "iterations=10", "method.mtt.image_lr=1"])
def test_experts_are_shared_by_runs_that_differ_elsewhere(tmp_path: Path, setting: str) -> None:
    from datadistill.stages.experts import expert_task

    key = expert_task(open_run(tmp_path / "run", config(setting), device="cpu")).recipe.key
    assert key == _key(finished())


def test_what_is_read_from_disk_lies_where_torch_allocates() -> None:
    """Kernels round otherwise at other addresses modulo 64: a resumed training would differ in the last bits."""
    from datadistill.stages.experts import open_experts

    run = finished()
    tensors, _ = read_tensors(run.checkpoint / "state.safetensors")
    segment = open_experts(open_run(run.root)).segment(1, 0, 1)
    addresses = [tensor.data_ptr() % 64 for tensor in (*tensors.values(), segment.start, segment.target)]
    assert addresses == [0] * len(addresses)
    assert len(addresses) > 4


# --- damaged stores


@pytest.mark.parametrize("damage", ["flipped", "cut", "foreign", "sidecar", "lost"])
def test_a_damaged_expert_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    run = copy_of_finished(tmp_path, experts=True)
    folder = tmp_path / "runs" / "experts" / _key(run)
    path = folder / "trajectory_001.safetensors"
    if damage == "flipped":
        flip_byte(path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "foreign":
        shutil.copy(folder / "trajectory_000.safetensors", path)
    elif damage == "lost":
        path.unlink()
    else:
        path = folder / "trajectory_001.json"
        path.write_text("{")
    before = contents(tmp_path)
    set_stage(run, "distill", "failed")
    with pytest.raises(CorruptFileError) as found:
        run_distill(open_run(run.root))
    assert path.name in str(found.value)
    after = contents(tmp_path)
    assert {name for name in after if before.get(name) != after[name]} == {"runs/tiny/status.json"}
    assert before.keys() == after.keys()


@pytest.mark.parametrize("name", ["synthetic.safetensors", "card.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "lost"])
def test_a_damaged_artifact_is_refused_by_name(tmp_path: Path, name: str, damage: str) -> None:
    run = copy_of_finished(tmp_path)
    path = run.synthetic / name
    if damage == "flipped":
        flip_byte(path, 20)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:30])
    else:
        path.unlink()
    with pytest.raises(CorruptFileError) as found:
        run_evaluate(open_run(run.root))
    assert str(path) in str(found.value)
    with pytest.raises(CorruptFileError):
        dd.load_artifact(run.synthetic)


def test_an_evaluation_in_the_making_that_is_damaged_is_refused_by_name(tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path)
    partial = run.root / "evaluate" / ".default.partial.json"
    partial.write_text('{"synthetic/0/0": [0.')
    with pytest.raises(CorruptFileError, match=r"\.default\.partial\.json: not a JSON file"):
        run_evaluate(open_run(run.root))


# --- runs that begin with an imported set


def test_an_imported_set_is_evaluated_like_any_other(tmp_path: Path) -> None:
    from datadistill.interop import export_set

    export_set(dd.load_artifact(finished().synthetic), tmp_path / "set.npz")
    store = finished().root.parent / "experts"
    session = open_run(tmp_path / "run", config(f"store={store}", "seed=0"), device="cpu")
    run_import(session, tmp_path / "set.npz")
    assert session.run.is_done("experts")
    assert session.run.is_done("distill")
    outcome = run_stages(session)
    original = json.loads(finished().evaluation("default").read_text())["results"]
    results = outcome.evaluations["default"].results
    assert "selected" not in results
    assert results["random"].accuracies == tuple(tuple(row) for row in original["random"]["accuracies"])
    assert results["synthetic"].mean == pytest.approx(original["synthetic"]["mean"], abs=0.02)
    card = outcome.artifact.card
    assert (card.method, card.iteration, card.label_kind) == ("imported from set.npz", 0, "hard")
    assert not session.run.experts.exists()


def test_an_imported_set_is_judged_by_any_network_which_is_kept(tmp_path: Path) -> None:
    from datadistill.interop import export_set

    export_set(dd.load_artifact(finished().synthetic), tmp_path / "set.npz")
    wanted = ("protocols=default@mlp", "evaluate.augment=none", "evaluate.lr=0.02", "evaluate.save_networks=true")
    session = open_run(tmp_path / "run", config(*wanted, "evaluate.random_draws=0"), device="cpu")
    run_import(session, tmp_path / "set.npz")
    (record,) = run_evaluate(session)
    result = record.results["synthetic"]
    assert (record.protocol.augment, result.lr) == ("none", 0.02)
    network = build_network(record.network, (1, 8, 8), 10)
    test = real_examples(session.data, session.preprocess, "test")
    for j, score in enumerate(result.accuracies[0]):
        tensors, about = read_tensors(session.run.networks(record.name) / "synthetic" / f"0_{j}.safetensors")
        assert about["network"] == network.name
        assert accuracy(network, tensors["params"], tensors["statistics"], test) == score


def test_an_import_that_does_not_fit_leaves_no_artifact(tmp_path: Path) -> None:
    session = opened(tmp_path)
    with pytest.raises(ArtifactError, match=r"cannot be read as \.npz"):
        run_import(session, tmp_path / "nowhere.npz")
    assert session.run.status().stages["distill"].state == "failed"
    assert not session.run.synthetic.exists()


class Lines:
    """A reporter that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bar = Silent().bar

    def say(self, line: str) -> None:
        self.said.append(line)


@pytest.mark.parametrize(
    ("settings", "networks"),
    [
        (("network=convnet-1-w8-batchnorm",), "convnet-1-w8-batchnorm"),
        (("evaluate.network=ConvNetBN",), "convnet-3-batchnorm"),
        (("network=convnet-1-w8-batchnorm", "ipc=3", "method.mtt.batch_syn=10"), "convnet-1-w8-batchnorm"),
        (("network=convnet-1-w8-batchnorm", "ipc=3", "evaluate.batch_size=8"), "convnet-1-w8-batchnorm"),
        (("network=convnet-1-w8-batchnorm", "ipc=3"), None),
        ((), None),
    ],
)
def test_batch_norm_over_one_image_per_class_is_said_in_one_line(
    tmp_path: Path, settings: tuple[str, ...], networks: str | None
) -> None:
    reporter = Lines()
    open_run(tmp_path / "run", config(*settings), device="cpu", data_root=tmp_path, reporter=reporter)
    if networks is None:
        assert reporter.said == []
        return
    (line,) = reporter.said
    assert line.startswith(f"warning: {networks}: batch norm over ")
    assert "images of 10 classes" in line
    assert "\n" not in line
    open_run(tmp_path / "run", resume=True, device="cpu", reporter=reporter)
    assert reporter.said == [line]


@pytest.mark.parametrize("rule", ["exact", "tesla", "tesla-as-shipped"])
def test_a_rule_that_is_not_the_gradient_is_said_in_one_line(tmp_path: Path, rule: str) -> None:
    reporter = Lines()
    chosen = config(f"method.mtt.rule={rule}")
    open_run(tmp_path / "run", chosen, device="cpu", data_root=tmp_path, reporter=reporter)
    if rule == "exact":
        assert reporter.said == []
    else:
        (line,) = reporter.said
        assert line.startswith(f"warning: rule '{rule}' is not the gradient")
        assert "\n" not in line
