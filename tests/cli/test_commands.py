"""The commands, in this process: what they print where, what they return, what they refuse."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import datadistill as dd
from datadistill.cli.main import main
from datadistill.config import from_toml, load_recipe, recipes
from datadistill.core.errors import DataNotFoundError
from datadistill.data import DATASETS
from datadistill.methods import PUBLISHED
from datadistill.networks import NETWORKS, imported
from datadistill.runtime.rundir import RunDir
from system.tiny_run import RECIPE, TINY, contents, copy_of_finished, finished, flags, flip_byte, set_stage

COMMANDS = (
    *("run", "plan", "experts", "distill", "evaluate", "report"),
    *("export", "import", "cite", "recipes", "methods", "datasets", "networks"),
)
FLAGS = [
    *("--out", "--device", "--seed", "--set", "--resume"),
    *("--dry-run", "--json", "--quiet", "--data-root", "--memory-limit"),
]
"""Frozen: adding a method adds none. Options live on the components. Only ``plan`` has one more: ``--gpu``."""


class Said(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command line in an empty folder, without the network, and return what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATADISTILL_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("datadistill.data.catalogue.fetch", _no_network)

    def called(*words: object) -> Said:
        capsys.readouterr()
        code: Any = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = 0 if end.code is None else end.code
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Said(code, out, err)

    return called


def _no_network(*_: object, **__: object) -> None:
    raise DataNotFoundError("could not be fetched (no network)")


def refused(said: Said) -> str:
    """Return the one line of a refusal."""
    assert said.code == 2, said
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if line.startswith("datadistill: ")]
    assert len(lines) == 1, said.err
    assert said.err.splitlines()[-1] == lines[0]
    return lines[0].removeprefix("datadistill: ")


# --- help and lists


ARGUMENTS = {
    **{name: ["RECIPE"] for name in ("run", "plan")},
    **{name: ["TARGET"] for name in ("experts", "distill", "evaluate", "report")},
    **{"export": ["SOURCE", "DESTINATION"], "import": ["SOURCE", "RECIPE"], "cite": ["SOURCE"], "datasets": ["SOURCE"]},
}
"""Frozen as well: the positional arguments of every command that has some."""


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_exactly_the_frozen_arguments(call: Call, command: str) -> None:
    said = call(command, "--help").out
    assert re.findall(r"^│ [*]? *([A-Z]+) ", said, re.MULTILINE) == ARGUMENTS.get(command, [])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_is_short_and_has_exactly_the_frozen_flags(call: Call, command: str) -> None:
    said = call(command, "--help")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert len(lines) <= 40
    assert lines[0].startswith(f"Usage: datadistill {command}")
    options = re.findall(r"^│ {1,4}(--[a-z-]+)", said.out, re.MULTILINE)
    assert options == (["--gpu", *FLAGS] if command == "plan" else FLAGS)
    assert "[default:" not in said.out


def test_the_help_of_all_names_every_command(call: Call) -> None:
    for words in (("--help",), ("-h",), ()):
        said = call(*words)
        assert said.code == 0
        assert [name for name in COMMANDS if not re.search(rf"^│ {name} ", said.out, re.MULTILINE)] == []
        assert set(re.findall(r"^│ ([a-z]+) ", said.out, re.MULTILINE)) == set(COMMANDS)


def test_the_version_is_one_line(call: Call) -> None:
    assert call("--version") == Said(0, f"{dd.__version__}\n", "")


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("recipes", list(recipes())),
        ("methods", list(PUBLISHED)),
        ("datasets", list(DATASETS)),
        ("networks", list(NETWORKS["resnet"].members)),
    ],
)
def test_a_list_has_every_name_in_full_and_as_json(call: Call, command: str, names: list[str]) -> None:
    said = call(command)
    assert (said.code, said.err) == (0, "")
    assert [name for name in names if name not in said.out] == []
    rows = json.loads(call(command, "--json").out)
    assert {next(iter(row.values())) for row in rows} >= set(names)
    assert all(all(isinstance(value, str) for value in row.values()) for row in rows)


def test_a_name_is_never_cut_short_in_a_narrow_terminal(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    said = call("recipes")
    assert [name for name in recipes() if name not in said.out] == []


def test_what_no_test_runs_is_said_in_the_lists(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not run here" not in call("networks").out + call("datasets").out
    monkeypatch.setitem(DATASETS, "svhn", replace(DATASETS["svhn"], tried=False))
    monkeypatch.setitem(NETWORKS["vit"].members, "vit-tiny", replace(NETWORKS["vit"].members["vit-tiny"], tried=False))
    networks = {row["network"]: row["for"] for row in json.loads(call("networks", "--json").out)}
    datasets = {row["data set"]: row["what it is"] for row in json.loads(call("datasets", "--json").out)}
    assert (networks["vit-apm"], networks["vit-tiny"]) == ("evaluation only", "evaluation only, not run here")
    assert [name for name, about in datasets.items() if about.endswith("; not run here")] == ["svhn"]


def test_the_data_sets_that_are_there_are_told_from_those_that_are_not(call: Call) -> None:
    found = {row["data set"]: row["found"] for row in json.loads(call("datasets", "--json").out)}
    assert found["digits"] == "scikit-learn"
    assert found["mnist"] == found["cifar10"] == found["imagenette"] == "no"


def test_listing_data_sets_reads_none(call: Call, tmp_path: Path) -> None:
    for name in ("train", "test"):
        path = tmp_path / "data" / "SVHN" / f"{name}_32x32.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no matrix")
    found = {row["data set"]: row["found"] for row in json.loads(call("datasets", "--json").out)}
    assert found["svhn"] == str(Path("data") / "SVHN")


def write_pets(folder: Path) -> Path:
    for seed, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for i in range(5):
            pixels = np.random.default_rng(10 * seed + i).integers(0, 256, (4, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def test_a_folder_is_described_with_its_problems_and_a_sheet(call: Call, tmp_path: Path) -> None:
    folder = write_pets(tmp_path / "pets")
    (folder / "dog" / "4.png").write_bytes(b"no image")
    said = call("datasets", "pets")
    assert said.code == 0
    words = ("2 classes", "sizes: 4x6 (9)", "dog/4.png: not a readable", "problems: 1")
    assert [word for word in words if word not in said.out] == []
    with Image.open(tmp_path / "pets-contact-sheet.png") as sheet:
        assert sheet.size[0] > sheet.size[1]
    told = json.loads(call("datasets", "pets", "--json", "--out", "sheet.png").out)
    assert (told["classes"], told["contact_sheet"]) == ({"train": {"cat": 5, "dog": 4}}, "sheet.png")
    assert len(told["problems"]) == 1


def test_files_and_names_are_described_too(call: Call, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", images=np.arange(160, dtype=np.uint8).reshape(10, 4, 4), labels=np.arange(10) % 2)
    assert "problems: none" in call("datasets", "mine.npz").out
    (tmp_path / "data" / "digits").mkdir(parents=True)  # a registered name goes before a folder
    assert json.loads(call("datasets", "digits", "--json").out)["sizes"] == {"8x8": 1797}
    assert json.loads(call("datasets", "digits-16", "--json").out)["sizes"] == {"16x16": 1797}
    assert refused(call("datasets", "no/such")).startswith("no/such: no such file or folder")
    assert refused(call("datasets", "digitz")) == "unknown data set 'digitz'; did you mean 'digits'?"


# --- run


def test_a_run_ends_with_a_table_and_the_report(call: Call) -> None:
    said = call("run", RECIPE, *flags(), "--out", "here")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[-1] == "report: here/report/report.html"
    assert re.search(r"distilled, last \(iteration 20\) .* 10 +\d+\.\d %", said.out)
    assert re.search(r"random real, 2 draws .* 4 *$", said.out, re.MULTILINE)
    assert "run directory: here" in said.err.splitlines()
    assert "run directory" not in said.out
    assert Path("here/report/report.html").is_file()
    assert sorted(path.name for path in Path().iterdir()) == ["experts", "here"]


def test_what_was_chosen_on_the_test_set_stands_in_a_table_apart(call: Call) -> None:
    store = f"store={finished().root.parent}/experts"
    said = call("run", RECIPE, *flags(store, "protocols=upstream-peak,default", "watch.variant_every=10"))
    assert said.code == 0
    tables = re.split(r"^digits, ", said.out, flags=re.MULTILINE)[1:]
    chosen = [text for text in tables if "best of 2 on the test set" in text]
    assert chosen == tables[2:]
    assert "only to be compared with such numbers" in " ".join(chosen[0].split())
    assert re.search(r"trained on .* best on test ", chosen[0])
    assert "distilled, last" not in chosen[0]
    assert [text.count("distilled, last (iteration 20)") for text in tables] == [1, 1, 0]


def test_json_is_the_last_line_and_says_it_all(call: Call) -> None:
    said = call("run", RECIPE, *flags(), "--json", "--out", "here")
    found = json.loads(said.out.splitlines()[-1])
    assert set(found) >= {"run", "method", "dataset", "ipc", "synthetic", "random", "full", "seconds"}
    assert (found["run"], found["method"], found["dataset"], found["ipc"]) == ("here", "mtt", "digits", 1)
    assert all(0 <= found[name] <= 1 for name in ("synthetic", "random", "full"))
    assert found["seconds"] > 0
    stored = json.loads(RunDir(Path("here")).evaluation("default").read_text())["results"]
    assert {name: found[name] for name in stored} == {name: round(stored[name]["mean"], 6) for name in stored}
    again = json.loads(call("run", "--out", "here", "--resume", "--json", "--quiet").out)
    assert {key: again[key] for key in again if key != "seconds"} == {k: found[k] for k in found if k != "seconds"}


def test_quiet_says_nothing_at_all_and_json_one_line(call: Call) -> None:
    assert call("run", RECIPE, *flags(), "--quiet") == Said(0, "", "")
    said = call("run", RECIPE, *flags(), "--quiet", "--json")
    assert said.err == ""
    assert len(said.out.splitlines()) == 1
    assert json.loads(said.out)["run"] == f"runs/{RECIPE}-2"


def test_runs_get_the_next_free_name_and_resume_takes_the_latest(call: Call) -> None:
    def where(*words: str) -> str:
        said = call("distill", RECIPE, *words, "--json", "--quiet")
        assert said.code == 2
        assert "run `datadistill experts` first" in said.err
        return max((path for path in Path("runs").iterdir()), key=lambda path: path.stat().st_mtime_ns).name

    started = [where(*flags()) for _ in range(3)]
    assert started == [RECIPE, f"{RECIPE}-2", f"{RECIPE}-3"]
    before = contents(Path("runs"))
    assert call("run", RECIPE, *flags("iterations=40"), "--resume").err.count(f"runs/{RECIPE}-3: was started with") == 1
    assert contents(Path("runs")) == before
    Path("runs", RECIPE).rename("elsewhere")
    assert where(*flags()) == RECIPE  # the first free name, even where later ones are taken


def test_resume_starts_fresh_where_there_is_nothing(call: Call) -> None:
    assert call("run", RECIPE, *flags(), "--resume", "--quiet") == Said(0, "", "")
    assert RunDir(Path("runs", RECIPE)).is_done("report")
    assert call("run", RECIPE, *flags(), "--resume", "--quiet") == Said(0, "", "")
    assert not Path("runs", f"{RECIPE}-2").exists()


@pytest.mark.parametrize("words", [(), (RECIPE,)])
def test_settings_need_not_be_said_again_to_resume(call: Call, words: tuple[str, ...]) -> None:
    assert call("experts", RECIPE, *flags(), "--quiet").code == 0
    assert call("run", *words, "--resume", "--quiet") == Said(0, "", "")
    assert RunDir(Path("runs", RECIPE)).is_done("report")


def test_a_recipe_file_that_has_changed_is_not_gone_on_with(call: Call) -> None:
    text = call("run", RECIPE, *flags(), "--dry-run").out
    Path("mine.toml").write_text(text)
    assert call("experts", "mine.toml", "--quiet").code == 0
    Path("mine.toml").write_text(text.replace("iterations = 20", "iterations = 30"))
    assert "(iterations was 20, now 30)" in refused(call("run", "mine.toml", "--resume"))


def test_the_seed_is_a_setting(call: Call) -> None:
    text = call("run", RECIPE, *flags(), "--seed", "7", "--dry-run").out
    assert from_toml(text, source="") == load_recipe(RECIPE, (*TINY, "seed=7"))


@pytest.mark.parametrize("command", ["run", "plan", "experts", "distill", "evaluate"])
def test_a_dry_run_prints_the_configuration_and_does_nothing(call: Call, command: str) -> None:
    said = call(command, RECIPE, *flags(), "--dry-run")
    assert (said.code, said.err) == (0, "")
    assert from_toml(said.out, source="") == load_recipe(RECIPE, TINY)
    assert list(Path().iterdir()) == []


def test_a_dry_run_of_an_import_imports_nothing(call: Call) -> None:
    said = call("import", "nowhere.npz", RECIPE, *flags(), "--dry-run")
    assert from_toml(said.out, source="") == load_recipe(RECIPE, TINY)
    assert list(Path().iterdir()) == []


def test_a_recipe_file_of_ones_own(call: Call) -> None:
    Path("mine.toml").write_text(call("run", RECIPE, *flags(), "--dry-run").out)
    assert call("experts", "mine.toml", "--quiet").code == 0
    assert RunDir(Path("runs/mine")).is_done("experts")


def test_the_stages_one_by_one_are_the_whole_run(call: Call) -> None:
    assert call("experts", RECIPE, *flags(), "--out", "here").code == 0
    assert json.loads(call("experts", "here", "--json", "--quiet").out)["run"] == "here"
    assert json.loads(call("distill", "here", "--json", "--quiet").out)["synthetic"] == "here/distill/synthetic"
    said = call("evaluate", "here", "--json")
    assert json.loads(said.out.splitlines()[-1])["run"] == "here"
    assert call("report", "here").out == "here/report/report.html\n"
    assert json.loads(call("report", "here", "--json").out) == {"run": "here", "report": "here/report/report.html"}
    one, other = RunDir(Path("here")), finished()
    for name in ("synthetic", "variants/selected"):
        path = Path(name) / "synthetic.safetensors"
        assert (one.distill / path).read_bytes() == (other.distill / path).read_bytes()
    assert accuracies(one) == accuracies(other)


def accuracies(run: RunDir) -> dict[str, Any]:
    results = json.loads(run.evaluation("default").read_text())["results"]
    return {name: result["accuracies"] for name, result in results.items()}


def test_a_plan_is_a_table_or_json_and_writes_nothing(call: Call) -> None:
    said = call("plan", RECIPE, *flags())
    assert (said.code, said.err) == (0, "")
    assert [stage for stage in ("experts", "distill", "evaluate", "all") if f" {stage} " not in said.out] == []
    found = json.loads(call("plan", RECIPE, *flags(), "--json").out)
    assert found["stages"][0]["stage"] == "experts"
    assert list(Path().iterdir()) == []


def test_a_memory_limit_decides_the_plan(call: Call) -> None:
    said = call("run", RECIPE, *flags("engine.strategy=auto"), "--memory-limit", "1kB", "--out", "here")
    assert "raise --memory-limit" in refused(said)
    assert json.loads(Path("here/status.json").read_text())["stages"]["experts"]["state"] == "pending"


# --- what is refused


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rnu"], "rnu"),
        (["run", RECIPE, "--outt", "x"], "--outt"),
        (["run", RECIPE, "--epochs", "3"], "--epochs"),
        (["run", RECIPE, "surplus"], "surplus"),
        (["run", "mtt_digit_ipc1"], "unknown recipe 'mtt_digit_ipc1'; did you mean 'mtt_digits_ipc1'?"),
        (["run", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["run", RECIPE, "--set"], "--set"),
        (["run", RECIPE, "--set", "iterations"], "--set iterations: expected key=value"),
        (["run", RECIPE, "--set", "iteration=3"], "unknown key 'iteration'; did you mean 'iterations'?"),
        (["run", RECIPE, "--set", "iterations=many"], "iterations: expected a whole number, got 'many'"),
        (["run", RECIPE, "--set", "network=convnets"], "network: unknown network 'convnets'; did you mean 'convnet'?"),
        (["run", RECIPE, "--seed", "pi"], "--seed"),
        (["run", RECIPE, "--device", "tpu"], "--device tpu: not a device; valid: auto, cpu"),
        (["run", RECIPE, "--memory-limit", "lots"], "--memory-limit lots: expected a size like 8GiB"),
        (["run", RECIPE, "--memory-limit", "0"], "--memory-limit 0: expected a size like 8GiB"),
        (["plan", "mtt_digit_ipc1"], "did you mean 'mtt_digits_ipc1'?"),
        (["experts", "mtt_digit_ipc1"], "neither a run directory nor a recipe; did you mean 'mtt_digits_ipc1'?"),
        (["evaluate"], "target"),
        (["evaluate", "nowhere"], "nowhere: neither a run directory nor a recipe"),
        (["report", "nowhere"], "nowhere: not a run directory (it has no config.toml)"),
        (["report", "."], ".: not a run directory (it has no config.toml)"),
        (["distill", "."], ".: not a run directory (it has no config.toml)"),
        (["export", ".", "set.npz"], ".: not a run directory (it has no config.toml)"),
        (["cite", "mttt"], "unknown method 'mttt'; did you mean 'mtt'?"),
        (["cite", "."], ".: not a run directory"),
        (["run", RECIPE, "--out", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(call: Call, words: list[str], expected: str) -> None:
    assert expected.lower() in refused(call(*words)).lower()
    assert list(Path().iterdir()) == []


def test_a_data_set_that_is_not_there_says_where_to_put_it(call: Call) -> None:
    said = call("run", RECIPE, *flags("dataset=mnist"), "--data-root", "empty", "--quiet")
    line = refused(said)
    assert line.startswith("mnist: missing train-images-idx3-ubyte")
    empty = Path("empty").absolute()
    assert f"put them into {empty}/MNIST/raw" in line
    assert f"looked in {empty}/MNIST/raw, {empty}/mnist, {empty};" in line


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("minst", "unknown data set 'minst'; did you mean 'mnist'?"),
        ("nowhere/images", "nowhere/images: no such file or folder"),
        ("nowhere.npz", "nowhere.npz: no such file or folder"),
    ],
)
def test_a_data_set_that_does_not_exist_is_named(call: Call, dataset: str, expected: str) -> None:
    assert expected in refused(call("run", RECIPE, *flags(f"dataset={dataset}"), "--quiet"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["ipc=5000"], "class 0 ('0') has"),
        (["validation=100000"], "digits: validation: cannot separate 100000 of 1437 images"),
        (["preprocess=normalize"], "unknown preprocessing 'normalize'; did you mean 'normalise'?"),
        (["preprocess=zca:-1"], "zca: eps must be a positive number"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_named(call: Call, settings: list[str], expected: str) -> None:
    assert expected in refused(call("run", RECIPE, *flags(*settings), "--quiet"))


def test_a_folder_of_other_things_and_another_run_are_left_alone(call: Call, tmp_path: Path) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("precious")
    assert "mine: is not empty and not a run directory" in refused(call("run", RECIPE, *flags(), "--out", "mine"))
    run = copy_of_finished(tmp_path)
    before = contents(tmp_path)
    assert "is there already; go on with --resume" in refused(call("run", RECIPE, *flags(), "--out", run.root))
    other = refused(call("run", RECIPE, *flags("ipc=2"), "--out", run.root, "--resume"))
    assert "was started with other settings (ipc was 1, now 2); choose another --out" in other
    assert "a run's configuration is never edited" in refused(call("evaluate", run.root, "--set", "ipc=2"))
    assert contents(tmp_path) == before


def test_a_finished_run_is_judged_by_other_networks_too(call: Call, tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path, experts=True)
    before = {run.config: run.config.read_bytes(), run.evaluation("default"): run.evaluation("default").read_bytes()}
    said = call("evaluate", run.root, "--set", "protocols=default@mlp,default@convnet-1-w4")
    assert said.code == 0, said
    assert {path: path.read_bytes() for path in before} == before
    records = {path.stem: json.loads(path.read_text()) for path in run.evaluations()}
    assert list(records) == ["default", "default@convnet-1-w4", "default@mlp"]
    assert records["default@mlp"]["network"] == "mlp"
    assert set(records["default@mlp"]["results"]) == {*records["default"]["results"]} - {"full"}
    table = said.out[said.out.index("on other networks, protocol 'default'") :]
    assert [line.split()[0] for line in table.splitlines()[4:7]] == ["convnet-1-w8", "convnet-1-w4", "mlp"]
    assert "from these random real images, network by network" in said.out
    assert "On other networks" in run.report.read_text()
    again = dd.run(RECIPE, *TINY, out=run.root, device="cpu")
    assert list(again.evaluations) == list(records)
    status, kept = run.status().stages["evaluate"], contents(run.root)
    too_large = refused(call("evaluate", run.root, "--set", "protocols=default@mlp,default@vgg11"))
    assert "vgg-11, an evaluation network: images of 8 x 8 pixels are too small" in too_large
    assert (run.status().stages["evaluate"], contents(run.root)) == (status, kept)
    unknown = refused(call("evaluate", run.root, "--set", "protocols=default@cross-architectur"))
    assert "protocols: unknown network or pool 'cross-architectur'; did you mean 'cross-architecture'?" in unknown


def test_a_file_in_the_place_of_the_run_directory_is_refused(call: Call) -> None:
    Path("here").write_text("precious")
    assert "here" in refused(call("run", RECIPE, *flags(), "--out", "here"))
    assert Path("here").read_text() == "precious"


@pytest.mark.parametrize(
    ("stage", "path"),
    [
        ("evaluate", "distill/synthetic/synthetic.safetensors"),
        ("evaluate", "distill/synthetic/card.json"),
        ("distill", "distill/checkpoint/state.safetensors"),
        ("evaluate", "config.toml"),
        ("distill", "plan.json"),
        ("distill", "status.json"),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_nothing_else_is_touched(
    call: Call, tmp_path: Path, stage: str, path: str
) -> None:
    run = copy_of_finished(tmp_path)
    if path != "status.json":
        set_stage(run, stage, "failed")
    flip_byte(run.root / path, 2)
    before = contents(run.root)
    line = refused(call(stage, run.root, "--quiet"))
    assert Path(path).name in line
    after = contents(run.root)
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} <= {"status.json"}


@pytest.mark.parametrize("path", ["evaluate/default.json", "distill/synthetic/synthetic.safetensors", "plan.json"])
def test_a_report_is_written_of_what_is_whole_and_names_the_rest(call: Call, tmp_path: Path, path: str) -> None:
    run = copy_of_finished(tmp_path)
    flip_byte(run.root / path, 2)
    assert call("report", run.root) == Said(0, f"{run.report}\n", "")
    assert Path(path).name in run.report.read_text()


def test_a_report_on_an_evaluation_in_the_making_finds_nothing_damaged(call: Call, tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path)
    (run.root / "evaluate" / ".default.partial.json").write_text('{"synthetic/0/0": [0.5, 1.0]}')
    assert call("report", run.root).code == 0
    assert ".default.partial.json" not in run.report.read_text()


def test_a_run_whose_evaluation_was_lost_says_so(call: Call, tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path)
    run.evaluation("default").unlink()
    assert "evaluate/default.json: no such file" in refused(call("run", "--out", run.root, "--resume", "--quiet"))


def test_a_run_that_diverges_is_one_line_and_code_three(call: Call) -> None:
    said = call("run", RECIPE, *flags("method.mtt.image_lr=1e30"), "--out", "here")
    assert said.code == 3
    assert said.err.splitlines()[-1].startswith("datadistill: iteration ")
    assert "try a smaller image_lr" in said.err
    assert Path("here/distill/metrics.jsonl").read_text().count("\n") >= 1  # the rows that show it are kept
    assert json.loads(Path("here/status.json").read_text())["stages"]["distill"]["state"] == "failed"


def test_an_interruption_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("datadistill.cli.runs.run_stages", interrupted)
    said = call("run", RECIPE, *flags(), "--out", "here")
    assert said.code == 130
    assert said.err.splitlines()[-1] == "datadistill: interrupted; the run goes on with --resume"


def test_a_network_of_ones_own_is_pinned_by_its_source(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path("my_own_nets.py")
    source.write_text(
        "from torch import nn\n\ndef make(shape, classes):\n"
        "    layers = nn.Conv2d(shape[0], 4, 3), nn.LayerNorm((4, 6, 6)), nn.ReLU(), nn.Flatten()\n"
        "    return nn.Sequential(*layers, nn.Linear(144, classes))\n"
    )

    def in_a_new_process(*words: object) -> Said:
        monkeypatch.delitem(sys.modules, "my_own_nets", raising=False)
        imported._find.cache_clear()
        return call(*words, "--quiet")

    own = flags("network=my_own_nets:make")
    assert in_a_new_process("run", RECIPE, *own, "--out", "runs/own").code == 0
    name = json.loads(Path("runs/own/evaluate/default.json").read_text())["network"]
    assert re.fullmatch("my_own_nets:make@[0-9a-f]{12}", name)
    assert name in Path("runs/own/config.toml").read_text()
    assert in_a_new_process("run", RECIPE, *own, "--out", "runs/own", "--resume").code == 0
    source.write_text(source.read_text() + "# changed\n")
    said = refused(in_a_new_process("run", "runs/own", "--resume"))
    assert (
        f"config.toml: network: network 'my_own_nets:make': its source has changed since it was '{name[16:]}'" in said
    )
    assert in_a_new_process("experts", RECIPE, *own, "--out", "runs/changed").code == 0
    assert len(list(Path("runs/experts").glob("*/manifest.json"))) == 3  # experts of each, and the full set of one
    monkeypatch.delitem(sys.modules, "my_own_nets", raising=False)


# --- exchange


def test_export_in_every_format(call: Call) -> None:
    source = finished().root
    assert call("export", source, "set.npz").out == "set.npz: 10 images in [0, 1], labels, targets\n"
    assert call("export", source / "distill" / "synthetic", "set.pt").code == 0
    assert json.loads(call("export", source, "pictures", "--json").out) == {"destination": "pictures"}
    assert call("export", source, "quiet.npz", "--quiet") == Said(0, "", "")
    assert np.load("set.npz")["images"].shape == (10, 1, 8, 8)
    assert torch.load("set.pt", weights_only=True)["images"].shape == (10, 1, 8, 8)
    assert len(list(Path("pictures").rglob("*.png"))) == 10
    assert Path("quiet.npz").is_file()


def test_export_of_what_is_damaged_writes_nothing(call: Call, tmp_path: Path) -> None:
    run = copy_of_finished(tmp_path)
    flip_byte(run.synthetic / "synthetic.safetensors")
    assert "synthetic.safetensors: checksum is" in refused(call("export", run.root, "set.npz"))
    assert not Path("set.npz").exists()


def test_what_is_exported_imported_and_evaluated_scores_the_same(call: Call) -> None:
    call("export", finished().root, "set.npz")
    store = f"store={finished().root.parent}/experts"
    said = call("import", "set.npz", RECIPE, *flags(store), "--out", "again")
    assert (said.code, said.out) == (0, "imported: again\n")
    found = json.loads(call("evaluate", "again", "--json", "--quiet").out)
    original = json.loads(finished().evaluation("default").read_text())["results"]
    assert found["random"] == round(original["random"]["mean"], 6)
    assert found["synthetic"] == pytest.approx(original["synthetic"]["mean"], abs=0.02)
    call("export", "again", "back.npz")
    with np.load("set.npz") as one, np.load("back.npz") as other:
        assert one.files == other.files
        assert np.allclose(one["images"], other["images"], atol=1e-6)
        assert all(np.array_equal(one[name], other[name]) for name in one.files if name != "images")


def test_an_import_of_another_number_of_images_says_which_ipc(call: Call) -> None:
    call("export", finished().root, "set.npz")
    line = refused(call("import", "set.npz", RECIPE, *flags("ipc=2"), "--quiet"))
    assert "set.npz: holds 10 images; 10 classes with ipc 2 are 20; say --set ipc=…" in line


def test_an_imported_run_is_gone_on_with_by_run(call: Call) -> None:
    call("export", finished().root, "set.npz")
    assert call("import", "set.npz", RECIPE, *flags(), "--out", "again", "--quiet") == Said(0, "", "")
    assert call("run", "--out", "again", "--resume", "--quiet") == Said(0, "", "")
    assert RunDir(Path("again")).is_done("report")


def test_cite_a_method_or_a_run(call: Call) -> None:
    entry = call("cite", "mtt").out
    assert entry.startswith("@inproceedings{cazenavette2022dataset,")
    assert call("cite", finished().root).out == entry
    assert json.loads(call("cite", "mtt", "--json").out)["method"] == "mtt"


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({}, ["cazenavette2022dataset"]),
        ({"optimiser": "gsam"}, ["cazenavette2022dataset", "du2023minimizing"]),
        ({"rule": "tesla"}, ["cazenavette2022dataset", "cui2023scaling"]),
        ({"labels": "teacher"}, ["cazenavette2022dataset", "cui2023scaling"]),
        ({"method": "dc", "augment": "none"}, ["zhao2021dataset"]),
        ({"method": "dc", "augment": "dsa"}, ["zhao2021dataset", "zhao2021differentiable"]),
        ({"terms": "clom cclom"}, ["cazenavette2022dataset", "lu2023pretrained"]),
    ],
)
def test_switches_with_a_paper_of_their_own_are_cited_as_well(
    call: Call, change: dict[str, str], keys: list[str], tmp_path: Path
) -> None:
    """The folder holds what a run leaves behind: its configuration, and the card of its set."""
    run = copy_of_finished(tmp_path / "changed")
    text = run.config.read_text()
    if "optimiser" in change:
        text = re.sub(r'(?m)^optimiser = "sgd"$', 'optimiser = "gsam"', text, count=1)  # of the experts
        assert "gsam" in text
        run.config.write_text(text)
    elif "terms" in change:
        tables = (f"\n[terms.{name}]\nalphas = [1.0]\n" for name in change["terms"].split())
        run.config.write_text(text + "".join(tables))
    else:
        card = run.synthetic / "card.json"
        content = json.loads(card.read_text())
        (content if "method" in change else content["hyper_parameters"]).update(change)
        card.write_text(json.dumps(content))
    assert re.findall(r"(?m)^@\w+\{(\w+),", call("cite", run.root).out) == keys


# --- in a process of its own


def command(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "datadistill", *map(str, words)]
    return subprocess.run(
        run, capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, **environment}, timeout=120
    )


def test_a_process_gives_the_exit_code_and_keeps_the_streams_apart(tmp_path: Path) -> None:
    wrong = command("run", "nothing", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("datadistill: unknown recipe 'nothing'")
    assert len(wrong.stderr.splitlines()) == 1
    right = command("run", RECIPE, *flags(), "--json", cwd=tmp_path, PYTHONWARNINGS="error")
    assert right.returncode == 0, right.stderr
    assert json.loads(right.stdout.splitlines()[-1])["run"] == f"runs/{RECIPE}"
    assert right.stderr.splitlines()[0] == f"run directory: runs/{RECIPE}"


@pytest.mark.slow
def test_a_terminal_that_knows_only_ascii_is_no_reason_to_fail(tmp_path: Path) -> None:
    for words in (("--help",), ("networks",), ("run", RECIPE, *flags())):
        said = command(*words, cwd=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C")
        assert said.returncode == 0, said.stderr
        assert "Traceback" not in said.stderr
