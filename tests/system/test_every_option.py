"""Every method with every option: two real iterations, an evaluation and a report on the digits.

A method joins by one line in ``METHODS``, an option by a list of settings in ``OPTIONS``; what only one method has
stands in ``SWITCHES``.
"""

import math
from pathlib import Path

import jaxtyping
import pytest
import torch

import datadistill as dd
from datadistill.cli.main import main
from datadistill.evaluate.protocol import PROTOCOLS
from datadistill.networks import build_network
from datadistill.runtime.compiler import can_compile
from datadistill.runtime.metrics import read_rows
from datadistill.stages import import_experts
from system.tiny_run import TINY

METHODS = {"mtt": "mtt_digits_ipc1", "att": "att_digits_ipc1"}
"""Recipes on the digits; DATM is below, for it refuses some of the options."""

SHORT = (
    "ipc=2",
    "iterations=2",
    "evaluate.epochs=3",
    "full.networks=0",
    "watch.log_every=1",
    "watch.checkpoint_every=2",
    "watch.probe_every=2",
    "watch.probe_epochs=2",
    "watch.frame_every=1",
)

OPTIONS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "ZCA": ("preprocess=zca",),
    "noise": ("initial=noise",),
    "mini-batches": ("method.{}.batch_syn=7",),
    "textures": ("texture.canvas=2", "texture.samples=2"),
    "textures of noise in mini-batches": ("texture.canvas=3", "initial=noise", "method.{}.batch_syn=7"),
    "segments": ("method.{}.segments=3",),
    "fixed step size": ("method.{}.student_lr_lr=0",),
    "no augmentation": ("augment=none",),
    "keep_every": ("engine.keep_every=2",),
    "host": ("engine.keep_on_host=true",),
    "micro-batches": ("engine.micro_batch=3",),
    "stored": ("engine.strategy=stored",),
    "bf16": ("engine.precision=bf16",),
    "compiled": ("engine.compiled=yes",),
    "compiled and stored": ("engine.compiled=yes", "engine.strategy=stored"),
    "compiled textures": ("engine.compiled=yes", "texture.canvas=2"),
    "decay of experts": ("experts.epochs=4", "experts.schedule=step", "experts.reset_momentum=true"),
}

DATM = ("experts.epochs=3", "method.datm.first_max_start_epoch=", "method.datm.expansion_iterations=")
RISING = ("method.datm.max_start_epoch=2", "method.datm.first_max_start_epoch=1", "method.datm.expansion_iterations=1")
SWITCHES: dict[str, tuple[str, tuple[str, ...]]] = {
    "TESLA": ("mtt", ("method.mtt.rule=tesla",)),
    "TESLA as shipped, stored": ("mtt", ("method.mtt.rule=tesla-as-shipped", "engine.strategy=stored")),
    "labels of the target weights": ("mtt", ("method.mtt.labels=teacher", "method.mtt.average_decay=0.9")),
    "FTD": ("mtt", ("experts.optimiser=gsam", "method.mtt.average_decay=0.9")),
    "average from the initial images": (
        "mtt",
        ("method.mtt.average_decay=0.9", "method.mtt.average_corrected=false"),
    ),
    "step size of the images by cosine": ("mtt", ("method.mtt.image_lr_schedule=cosine",)),
    "step size of the images by steps": ("att", ("method.att.image_lr_schedule=step",)),
    "nearest by L2": ("att", ("method.att.select_norm=l2", "method.att.batch_syn=7")),
    "experts with momentum and weight decay": ("mtt", ("experts.momentum=0.9", "experts.weight_decay=5e-4")),
    "experts by cosine": ("mtt", ("experts.epochs=3", "experts.schedule=cosine")),
    "experts that drop late and forget": (
        "att",
        (
            "experts.epochs=4",
            "experts.momentum=0.9",
            "experts.schedule=step",
            "experts.decay_at=0.75",
            "experts.reset_momentum=true",
        ),
    ),
    "DATM": ("datm", (*DATM, *RISING)),
    "DATM in mini-batches, on whitened images": ("datm", (*DATM, "method.datm.batch_syn=7", "preprocess=zca")),
    "DATM from noise": ("datm", (*DATM, "initial=noise", "method.datm.only_recognised=false")),
    "DATM of fixed labels": ("datm", (*DATM, "method.datm.label_lr=0", "method.datm.segments=2")),
    "updates of which none is taken": ("datm", (*DATM, "method.datm.loss_threshold=1e-9")),
}
"""A method and what is set of it, and of its experts."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experts are shared: most options leave them as they are."""
    return tmp_path_factory.mktemp("experts")


def settings_of(method: str) -> list[str]:
    """Return the settings of the short run of ``system/tiny_run.py`` for any method."""
    return [*(setting.replace("method.mtt", f"method.{method}") for setting in TINY), *SHORT]


def run_to_the_report(recipe: str, settings: list[str], out: Path) -> dd.Outcome:
    """Run a recipe and check that it did two real iterations, kept the set and judged it."""
    outcome = dd.run(recipe, *settings, out=out, device="cpu")
    config = dd.load_recipe(recipe, tuple(settings))
    rows = [row for row in read_rows(outcome.run.metrics) if "matching_loss" in row]
    assert [row["iteration"] for row in rows] == [1, 2]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    artifact = outcome.artifact
    assert artifact.card.method == config.method_name
    assert artifact.card.iteration == 2
    assert artifact.card.texture == config.texture
    assert artifact.synthetic.images.shape == (20, *artifact.card.image_shape)
    assert bool(artifact.synthetic.images.isfinite().all())
    assert set(outcome.evaluations) == set(config.protocols)
    for evaluation in outcome.evaluations.values():
        assert all(0 <= result.mean <= 1 for result in evaluation.results.values())
    assert outcome.report.stat().st_size > 10_000
    return outcome


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch of itself, when it compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch hides it
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_runs_to_the_report(
    method: str, option: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "compiled" in option:
        if not can_compile(torch.device("cpu")):
            pytest.skip("there is no C++ compiler")
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # dynamo cannot trace the checks
    settings = [*settings_of(method), *(setting.format(method) for setting in OPTIONS[option])]
    run_to_the_report(METHODS[method], [*settings, f"store={store}"], tmp_path / "run")


@pytest.mark.filterwarnings("ignore:.* initial images are recognised by no expert")  # these experts know little
@pytest.mark.parametrize("switch", SWITCHES)
def test_switches_of_one_method_do_too(switch: str, store: Path, tmp_path: Path) -> None:
    method, changes = SWITCHES[switch]
    settings = [*settings_of(method), *changes, f"store={store}"]
    outcome = run_to_the_report(f"{method}_digits_ipc1", settings, tmp_path / "run")
    config, (evaluation,) = dd.load_recipe(f"{method}_digits_ipc1", tuple(settings)), outcome.evaluations.values()
    assert set(config.method.variant_names) <= set(evaluation.results)
    soft = method == "datm" or "labels of the target weights" in switch
    assert outcome.artifact.card.label_kind == ("soft" if soft else "hard")
    if "none is taken" in switch:
        assert all(row["update_taken"] == 0 for row in read_rows(outcome.run.metrics) if "matching_loss" in row)


def test_the_best_of_what_was_kept_is_chosen_on_the_test_set(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROTOCOLS, "upstream-peak", {**PROTOCOLS["upstream-peak"], "networks": 2, "epochs": 3})
    settings = ["protocols=default,upstream-peak", "watch.variant_every=1", f"store={store}"]
    outcome = run_to_the_report(METHODS["mtt"], [*settings_of("mtt"), *settings], tmp_path / "run")
    peak = outcome.evaluations["upstream-peak"]
    assert set(peak.results) == {"peak", "synthetic"}
    assert [iteration for iteration, _ in peak.candidates] == [1, 2]


def test_a_finished_run_is_judged_by_a_pool_of_networks(store: Path, tmp_path: Path) -> None:
    """The pool wants images of 32 x 32."""
    changes = ["dataset=digits-32", "evaluate.networks=1", "evaluate.random_draws=0", f"store={store}"]
    outcome = run_to_the_report(METHODS["mtt"], [*settings_of("mtt"), *changes], tmp_path / "run")
    main(["evaluate", str(outcome.run.root), "--set", "protocols=default@cross-architecture", "--quiet"])
    found = {path.stem for path in outcome.run.root.glob("evaluate/*.json")}
    assert found == {"default", *(f"default@{name}" for name in ("alexnet", "vgg-11", "resnet-18"))}


def test_experts_of_another_repository_are_matched(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):  # only shapes are wanted, and no draws of torch's own generator
        shapes = [parameter.shape for parameter in build_network("convnet-1-w8", (1, 8, 8), 10).factory().parameters()]
    path = [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(3)]
    torch.save([path, path], tmp_path / "replay_buffer_0.pt")
    settings = settings_of("mtt")
    config = dd.load_recipe(METHODS["mtt"], tuple(settings))
    found = import_experts([tmp_path / "replay_buffer_0.pt"], config, tmp_path / "run", device="cpu")
    settings += [f"experts.imported={found.folder.name}", *(f"experts.{key}=" for key in config.experts.trained_only)]
    outcome = run_to_the_report(METHODS["mtt"], settings, tmp_path / "run")
    assert outcome.artifact.card.trained_by == {"experts": found.folder.name, "count": 2}
