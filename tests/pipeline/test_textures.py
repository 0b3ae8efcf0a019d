"""A texture from the real images to the report, and out and in again."""

from pathlib import Path

import numpy as np
import pytest
import torch

import datadistill as dd
from datadistill.core.errors import ArtifactError, UsageError
from datadistill.interop import export_set, import_set
from datadistill.stages import open_run, run_import
from system.tiny_run import RECIPE, TINY

SETTINGS = (*TINY, "texture.canvas=2", "texture.samples=2", "method.mtt.batch_syn=6")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dd.Outcome:
    return dd.run(RECIPE, *SETTINGS, out=tmp_path_factory.mktemp("texture") / "run", device="cpu")


def test_a_run_makes_canvases_and_judges_their_windows(outcome: dd.Outcome) -> None:
    artifact, run = outcome.artifact, outcome.run
    assert artifact.card.texture == dd.Texture(canvas=2, samples=2)
    assert artifact.synthetic.images.shape == (10, 1, 16, 16)
    results = outcome.evaluations["default"].results
    assert {name: result.images for name, result in results.items() if name != "full"} == {
        "synthetic": 10,
        "selected": 10,
        "random": 10,
    }
    assert dd.load_artifact(run.variant("selected")).card.texture == artifact.card.texture
    assert (run.synthetic / "strip.png").exists()


def test_the_report_shows_textures_as_such(outcome: dd.Outcome) -> None:
    page = outcome.report.read_text()
    assert page.count('alt="Textures laid beside themselves"') == 2
    assert "s.sample(Randomness(0).at(1))" in page
    assert "canvases of 2 × 2 images, 2 windows per use, seam " in page


def test_npz_and_pt_say_how_the_images_are_seen(outcome: dd.Outcome, tmp_path: Path) -> None:
    artifact = outcome.artifact
    export_set(artifact, tmp_path / "set.npz")
    export_set(artifact, tmp_path / "set.pt")
    assert torch.load(tmp_path / "set.pt", weights_only=True)["texture"].tolist() == [2, 2]
    with np.load(tmp_path / "set.npz") as stored:
        assert stored["texture"].tolist() == [2, 2]
    shape, path = artifact.card.shape, tmp_path / "set.npz"
    back = import_set(path, artifact.preprocess, shape, 10, artifact.card.texture)
    assert torch.allclose(back.images, artifact.synthetic.images, atol=1e-5)
    for other in (None, dd.Texture(canvas=2, samples=1)):
        with pytest.raises(ArtifactError, match=r"say --set texture\.canvas=2 --set texture\.samples=2"):
            import_set(path, artifact.preprocess, shape, 10, other)


def test_canvases_that_say_nothing_are_what_the_run_says(outcome: dd.Outcome, tmp_path: Path) -> None:
    artifact = outcome.artifact
    np.savez(tmp_path / "set.npz", images=artifact.pixels().numpy(), labels=np.arange(10))
    with pytest.raises(ArtifactError, match=r"the data set has \(1, 8, 8\)"):
        import_set(tmp_path / "set.npz", artifact.preprocess, artifact.card.shape, 10)
    session = open_run(tmp_path / "run", dd.load_recipe(RECIPE, SETTINGS), device="cpu")
    run_import(session, tmp_path / "set.npz")
    assert dd.load_artifact(session.run.synthetic).card.texture == artifact.card.texture
    with pytest.raises(ArtifactError, match=r"a canvas has \(1, 24, 24\)"):
        import_set(tmp_path / "set.npz", artifact.preprocess, artifact.card.shape, 10, dd.Texture(canvas=3))


def test_too_few_real_images_for_the_canvases_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    settings = (*TINY, "texture.canvas=2", "texture.start=tiles", "ipc=40")
    with pytest.raises(
        UsageError, match=r"has \d+ training images, ipc is 40 with 4 on a canvas.*; at most 33 are possible"
    ):
        dd.run(RECIPE, *settings, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "config.toml").exists()
