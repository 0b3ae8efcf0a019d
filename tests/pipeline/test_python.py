"""The package from Python: its names, what importing it does, and runs on one's own data."""

import doctest
import importlib
import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import datadistill as dd
from datadistill.core.errors import DataError, RunError, UnknownNameError, UsageError
from datadistill.stages import open_run, run_distill, run_experts
from system.tiny_run import RECIPE, TINY, finished

NAMES = [
    "Artifact",
    "APM",
    "ATT",
    "BackProp",
    "DATM",
    "DC",
    "DM",
    "METHODS",
    "MTT",
    "Outcome",
    "Protocol",
    "RealData",
    "RunConfig",
    "SyntheticSet",
    "Texture",
    "build_augment",
    "build_network",
    "fit_preprocess",
    "from_arrays",
    "from_dataset",
    "load_artifact",
    "load_dataset",
    "load_recipe",
    "recipes",
    "run",
    "save_artifact",
]
"""The public names. Taking one away breaks somebody; adding one is a promise."""


MODULES = sorted({getattr(dd, name).__module__ for name in NAMES if hasattr(getattr(dd, name), "__module__")})


def test_the_public_names_are_these() -> None:
    assert sorted(dd.__all__) == sorted(["__version__", *NAMES])
    assert sorted(dir(dd)) == sorted(dd.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(dd, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        first = (inspect.getdoc(value) or "").splitlines()[0]
        assert first.endswith(".")
        assert value.__module__.startswith("datadistill.")
    else:
        assert value


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'datadistill' has no attribute 'nothing'"):
        _ = dd.nothing


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_next_to_nothing() -> None:
    loaded = set(python("import datadistill, sys; print(*sys.modules)").split())
    assert loaded & {"torch", "numpy", "cyclopts", "sklearn", "matplotlib", "scipy", "jinja2", "PIL", "rich"} == set()
    assert {name for name in loaded if name.startswith("datadistill.")} == set()


def test_no_public_name_needs_the_command_line_or_a_plot() -> None:
    program = f"import datadistill as dd, sys; [getattr(dd, n) for n in {NAMES}]; print(*sys.modules)"
    loaded = set(python(program).split())
    assert "torch" in loaded
    assert loaded & {"cyclopts", "sklearn", "matplotlib", "torchvision"} == set()


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_are_right(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


# --- runs


def test_a_run_from_python_is_the_one_of_the_command_line(tmp_path: Path) -> None:
    run = finished()
    outcome = dd.run(RECIPE, *TINY, out=run.root)
    assert isinstance(outcome, dd.Outcome)
    assert outcome.run == run
    assert outcome.report == run.report
    assert list(outcome.evaluations) == ["default"]
    assert 0 <= outcome.accuracy <= 1
    assert outcome.accuracy == outcome.evaluations["default"].results["synthetic"].mean
    assert outcome.artifact.synthetic.images.shape == (10, 1, 8, 8)
    pixels = outcome.artifact.pixels()
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1


def test_a_run_that_is_there_is_not_overwritten_unless_it_may_be_resumed() -> None:
    with pytest.raises(RunError, match="is there already"):
        dd.run(RECIPE, *TINY, out=finished().root, resume=False)
    with pytest.raises(RunError, match=r"was started with other settings \(ipc was 1, now 2\)"):
        dd.run(RECIPE, *TINY, "ipc=2", out=finished().root)


def test_mistakes_in_python_have_types_and_one_line() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mtt_digits_ipc1'"):
        dd.run("mtt_digits_ipc_1")
    with pytest.raises(UsageError, match="settings change a named recipe; a RunConfig is changed with"):
        dd.run(dd.load_recipe(RECIPE), "ipc=2")
    with pytest.raises(UsageError, match="unknown key 'icp'; did you mean 'ipc'"):
        dd.run(RECIPE, "icp=2")


def test_the_default_folder_is_named_after_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = f"store={finished().root.parent}/experts"
    outcome = dd.run(RECIPE, *TINY, store, "full.networks=0", "evaluate.random_draws=0", device="cpu")
    assert outcome.run.root == Path("runs", RECIPE)
    assert set(outcome.evaluations["default"].results) <= {"synthetic", "selected"}


def test_a_stage_can_be_run_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run_experts(open_run(Path("runs/mine"), dd.load_recipe(RECIPE, TINY), device="cpu"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    run_distill(open_run(Path("../runs/mine")))
    name = "synthetic.safetensors"
    assert (tmp_path / "runs/mine/distill/synthetic" / name).read_bytes() == (finished().synthetic / name).read_bytes()
    assert list(Path().iterdir()) == []


# --- one's own data, and other settings, from end to end

CLASSES = ("bar left", "bar right", "dots")


def pictures(per_class: int, seed: int, channels: int = 1) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Three classes that a small network tells apart."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), per_class)
    images = generator.integers(0, 60, (len(labels), channels, 8, 8)).astype(np.uint8)
    images[labels == 0, :, :, 1:3] += 150
    images[labels == 1, :, :, 5:7] += 150
    images[labels == 2, :, ::3, ::3] += 150
    return images, labels


def own_data() -> dd.RealData:
    return dd.from_arrays(*pictures(30, 0), *pictures(10, 1), classes=CLASSES, name="bars")


TINIER = (
    *TINY,
    "validation=15",
    "iterations=10",
    "experts.batch_size=32",
    "experts.lr=0.1",
    "full.training.batch_size=32",
    "full.training.epochs=3",
)


def check(outcome: dd.Outcome, classes: int, ipc: int = 1) -> None:
    """Check what holds for every finished run."""
    card = outcome.artifact.card
    assert len(card.classes) == classes
    assert outcome.artifact.synthetic.targets.shape == (classes * ipc, classes)
    assert bool(torch.isfinite(outcome.artifact.synthetic.images).all())
    assert torch.equal(outcome.artifact.synthetic.targets.argmax(1), torch.arange(classes).repeat_interleave(ipc))
    results = next(iter(outcome.evaluations.values())).results
    assert set(results) >= {"synthetic", "random", "full"}
    for result in results.values():
        scores = [score for draw in result.accuracies for score in draw]
        assert all(0 <= score <= 1 for score in scores)
        assert result.mean == pytest.approx(sum(scores) / len(scores))
        assert result.interval[0] <= result.mean <= result.interval[1]
    assert outcome.report.stat().st_size > 5000
    assert {stage.state for stage in outcome.run.status().stages.values()} == {"done"}


def test_ones_own_arrays(tmp_path: Path) -> None:
    data = own_data()
    outcome = dd.run(RECIPE, *TINIER, out=tmp_path / "runs" / "mine", data=data, device="cpu")
    check(outcome, 3)
    assert (outcome.artifact.card.dataset, outcome.artifact.card.classes) == ("bars", CLASSES)
    assert outcome.artifact.card.data_checksum == data.card.checksum
    again = dd.run(RECIPE, *TINIER, out=tmp_path / "runs" / "mine", data=data)
    assert torch.equal(again.artifact.synthetic.images, outcome.artifact.synthetic.images)


def test_a_configuration_instead_of_a_recipe(tmp_path: Path) -> None:
    config = dd.load_recipe(RECIPE, TINIER)
    config = replace(config, evaluate=replace(config.evaluate, epochs=3))
    outcome = dd.run(config, out=tmp_path / "mine", data=own_data(), device="cpu")
    check(outcome, 3)
    assert outcome.evaluations["default"].protocol.epochs == 3


def test_own_data_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="bars: validation: cannot separate"):
        dd.run(RECIPE, *TINY, "validation=90", out=tmp_path / "mine", data=own_data(), device="cpu")


def test_a_folder_of_images(tmp_path: Path) -> None:
    for part, per_class, seed in (("train", 30, 0), ("test", 10, 1)):
        images, labels = pictures(per_class, seed, channels=3)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = tmp_path / "photos" / part / CLASSES[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(path)
    outcome = dd.run(RECIPE, *TINIER, f"dataset={tmp_path}/photos", out=tmp_path / "runs" / "mine", device="cpu")
    check(outcome, 3)
    assert outcome.artifact.card.shape == (3, 8, 8)
    assert outcome.artifact.card.classes == tuple(sorted(CLASSES))


def test_an_npz_file_below_the_data_root(tmp_path: Path) -> None:
    (x_train, y_train), (x_test, y_test) = pictures(30, 0), pictures(10, 1)
    np.savez(tmp_path / "bars.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    out = tmp_path / "runs" / "mine"
    outcome = dd.run(RECIPE, *TINIER, "dataset=bars.npz", out=out, device="cpu", data_root=tmp_path)
    check(outcome, 3)
    assert outcome.artifact.card.dataset == "bars"


VARIED = {
    "zca": ("preprocess=zca",),
    "no preprocessing": ("preprocess=none", "augment=none", "method.mtt.image_lr=1"),
    "batch norm": ("network=convnet-1-w8-batchnorm",),
    "noise": ("initial=noise",),
    "small batches": ("ipc=3", "method.mtt.batch_syn=4"),
    "stored graph": ("engine.strategy=stored",),
    "cut up": ("ipc=2", "engine.micro_batch=4", "engine.keep_every=2", "engine.keep_on_host=true"),
    "another judge": ("evaluate.network=mlp", "evaluate.augment=none", "evaluate.lr=0.05"),
    "protocols": ("protocols=upstream,default",),
    "no validation": ("validation=0",),
    "judged on validation": ("evaluate.split=validation",),
}


OFTEN = ("zca", "batch norm", "noise", "small batches")


@pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in VARIED]
)
def test_a_run_with_other_settings(tmp_path: Path, name: str) -> None:
    settings = (*TINIER, *VARIED[name], "evaluate.networks=2")
    outcome = dd.run(RECIPE, *settings, out=tmp_path / "mine", data=own_data(), device="cpu")
    if name == "protocols":
        assert list(outcome.evaluations) == ["upstream", "default"]
    if name == "judged on validation":
        assert set(outcome.evaluations["default"].results) >= {"synthetic", "random"}
        assert "full" not in outcome.evaluations["default"].results
        assert outcome.evaluations["default"].split == "validation, 15 images"
        return
    check(outcome, 3, outcome.artifact.card.ipc)
    assert outcome.run.variant("selected").exists() == (name != "no validation")


def test_whitening_travels_with_the_artifact(tmp_path: Path) -> None:
    outcome = dd.run(RECIPE, *TINIER, "preprocess=zca", out=tmp_path / "mine", data=own_data(), device="cpu")
    artifact = dd.load_artifact(outcome.run.synthetic)
    assert artifact.card.preprocess["name"] == "zca"
    assert (outcome.run.synthetic / "preprocess.safetensors").is_file()
    first = dd.fit_preprocess("zca", outcome_data(15))
    pixels = first.to_pixels(artifact.synthetic.images)
    assert torch.allclose(artifact.preprocess.to_pixels(artifact.synthetic.images), pixels, atol=1e-4)


def outcome_data(validation: int) -> dd.RealData:
    from datadistill.data.split import hold_out

    return hold_out(own_data(), validation)


def test_noise_begins_with_noise(tmp_path: Path) -> None:
    from datadistill.stages.distill import make_problem

    config = dd.load_recipe(RECIPE, (*TINIER, "initial=noise", f"store={tmp_path}/store"))
    session = open_run(tmp_path / "mine", replace(config, dataset="bars"), device="cpu", data=own_data())
    run_experts(session)
    images = make_problem(session).initial_images
    assert float(images.std()) == pytest.approx(1, abs=0.2)
    assert abs(float(images.mean())) < 0.3


@pytest.mark.slow
def test_two_workers_give_the_bits_of_one(tmp_path: Path) -> None:
    one = dd.run(RECIPE, *TINY, "threads=1", out=tmp_path / "one" / "run", device="cpu")
    two = dd.run(RECIPE, *TINY, "threads=1", "workers=2", out=tmp_path / "two" / "run", device="cpu")
    name = "synthetic.safetensors"
    assert (one.run.synthetic / name).read_bytes() == (two.run.synthetic / name).read_bytes()
    first, second = (json.loads(outcome.run.evaluation("default").read_text())["results"] for outcome in (one, two))
    assert {key: first[key]["accuracies"] for key in first} == {key: second[key]["accuracies"] for key in second}
