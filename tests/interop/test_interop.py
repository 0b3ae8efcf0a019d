"""Out to .npz, .pt and PNG folders, and in again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import datadistill as dd
from datadistill.core.errors import ArtifactError
from datadistill.data.preprocess import Normalise
from datadistill.interop import export_set, import_set
from system.tiny_run import contents, finished

SHAPE = (1, 8, 8)


@pytest.fixture
def artifact() -> dd.Artifact:
    return dd.load_artifact(finished().synthetic)


def coloured(classes: tuple[str, ...] = ("a/b", "../c", "d e")) -> dd.Artifact:
    """An artifact with three channels, two images per class, and values outside [0, 1]."""
    plain = dd.load_artifact(finished().synthetic)
    pixels = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 1.5 - 0.25
    preprocess = Normalise(((0.5,) * 3, (0.25,) * 3))
    targets = torch.eye(3).repeat_interleave(2, 0)
    card = replace(plain.card, classes=classes, shape=(3, 8, 8), ipc=2, preprocess=preprocess.description)
    return dd.Artifact(dd.SyntheticSet(preprocess.from_pixels(pixels), targets), card, preprocess)


def test_npz_holds_what_it_says(artifact: dd.Artifact, tmp_path: Path) -> None:
    line = export_set(artifact, tmp_path / "set.npz")
    assert line == f"{tmp_path}/set.npz: 10 images in [0, 1], labels, targets"
    with np.load(tmp_path / "set.npz", allow_pickle=False) as stored:
        assert sorted(stored.files) == ["classes", "images", "labels", "student_lr", "targets"]
        assert stored["images"].shape == (10, *SHAPE)
        assert stored["images"].dtype == np.float32
        assert stored["labels"].tolist() == list(range(10))
        assert stored["classes"].tolist() == [str(digit) for digit in range(10)]
        pixels = artifact.preprocess.to_pixels(artifact.synthetic.images)
        assert np.array_equal(stored["images"], pixels.numpy())


def test_npz_comes_back_up_to_rounding(artifact: dd.Artifact, tmp_path: Path) -> None:
    export_set(artifact, tmp_path / "set.npz")
    back = import_set(tmp_path / "set.npz", artifact.preprocess, SHAPE, 10)
    assert torch.allclose(back.images, artifact.synthetic.images, atol=1e-5)
    assert torch.equal(back.targets, artifact.synthetic.targets)
    assert back.student_lr is not None
    assert torch.equal(back.student_lr, artifact.synthetic.student_lr)


def test_an_order_comes_back_for_the_sorted_rows(artifact: dd.Artifact, tmp_path: Path) -> None:
    order, lr = torch.tensor([[3, 0], [9, 4], [3, 0]]), torch.tensor([0.1, 0.2, 0.3])
    ordered = replace(artifact, synthetic=replace(artifact.synthetic, order=order, student_lr=lr))
    export_set(ordered, tmp_path / "set.npz")
    back = import_set(tmp_path / "set.npz", artifact.preprocess, SHAPE, 10)
    assert torch.equal(back.order, order)
    assert torch.equal(back.student_lr, lr)
    with np.load(tmp_path / "set.npz") as stored:
        arrays = dict(stored)
    mixed = np.random.default_rng(0).permutation(10)
    places = np.argsort(mixed)
    shuffled = {name: arrays[name][mixed] for name in ("images", "targets", "labels")}
    np.savez(tmp_path / "mixed.npz", **{**arrays, **shuffled, "order": places[order.numpy()]})
    again = import_set(tmp_path / "mixed.npz", artifact.preprocess, SHAPE, 10)
    assert torch.equal(again.images[again.order], back.images[back.order])
    for wrong, message in (
        ({"order": order.numpy() + 7}, "order must hold rows"),
        ({"student_lr": lr[:2].numpy()}, "2 entries"),
    ):
        np.savez(tmp_path / "wrong.npz", **{**arrays, **wrong})
        with pytest.raises(ArtifactError, match=message):
            import_set(tmp_path / "wrong.npz", artifact.preprocess, SHAPE, 10)


def test_values_outside_the_visible_range_survive_npz(tmp_path: Path) -> None:
    source = coloured()
    export_set(source, tmp_path / "set.npz")
    back = import_set(tmp_path / "set.npz", source.preprocess, (3, 8, 8), 3)
    assert torch.allclose(back.images, source.synthetic.images, atol=1e-5)
    assert back.student_lr is None


def test_pt_holds_the_tensors_and_nothing_that_runs(artifact: dd.Artifact, tmp_path: Path) -> None:
    line = export_set(artifact, tmp_path / "set.pt")
    assert "network space (normalise)" in line
    stored = torch.load(tmp_path / "set.pt", weights_only=True)
    assert sorted(stored) == ["images", "labels", "student_lr", "targets"]
    assert torch.equal(stored["images"], artifact.synthetic.images)
    assert torch.equal(stored["labels"], torch.arange(10))


def test_png_is_a_folder_per_class_of_the_pixels(artifact: dd.Artifact, tmp_path: Path) -> None:
    export_set(artifact, tmp_path / "set")
    files = sorted(path.relative_to(tmp_path / "set") for path in (tmp_path / "set").rglob("*.png"))
    assert [path.parent.name for path in files] == [str(digit) for digit in range(10)]
    shown = np.asarray(Image.open(tmp_path / "set" / files[3]))
    assert np.array_equal(shown, (artifact.pixels()[3, 0] * 255).round().byte().numpy())


def test_class_names_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    export_set(coloured(), tmp_path / "out" / "set")
    assert {path.split("/")[0] for path in contents(tmp_path)} == {"out"}
    folders = sorted(path.name for path in (tmp_path / "out" / "set").iterdir())
    assert folders == ["_c", "a_b", "d e"]
    with Image.open(next((tmp_path / "out" / "set" / "a_b").iterdir())) as picture:
        assert (picture.mode, picture.size) == ("RGB", (8, 8))


def test_an_export_that_cannot_be_leaves_nothing(tmp_path: Path) -> None:
    source = coloured()
    five = source.synthetic.images[:, :1].expand(-1, 5, -1, -1)
    preprocess = Normalise(((0.5,) * 5, (0.25,) * 5))
    odd = dd.Artifact(replace(source.synthetic, images=five), replace(source.card, shape=(5, 8, 8)), preprocess)
    with pytest.raises(ArtifactError, match=r"images of 5 channels cannot be PNG files; export to \.npz"):
        export_set(odd, tmp_path / "set")
    assert contents(tmp_path) == {}
    export_set(odd, tmp_path / "set.npz")


def good() -> dict[str, Any]:
    return {
        "images": np.full((10, *SHAPE), 0.5, np.float32),
        "labels": np.arange(10),
    }


def changed(name: str, value: Any) -> dict[str, Any]:
    arrays = {**good(), name: value}
    return {key: array for key, array in arrays.items() if array is not None}


def brought_in(path: Path) -> dd.SyntheticSet:
    return import_set(path, Normalise(((0.5,), (0.25,))), SHAPE, 10)


def test_bytes_and_floats_mean_the_same_and_rows_are_sorted_by_class(tmp_path: Path) -> None:
    arrays = good()
    arrays["images"] = np.arange(10, dtype=np.uint8)[::-1].reshape(10, 1, 1, 1) * np.ones((1, *SHAPE), np.uint8)
    arrays["labels"] = np.arange(10)[::-1].astype(np.uint8)
    np.savez(tmp_path / "bytes.npz", **arrays)
    np.savez(tmp_path / "floats.npz", images=arrays["images"] / 255, labels=arrays["labels"].astype(">i4"))
    one, other = brought_in(tmp_path / "bytes.npz"), brought_in(tmp_path / "floats.npz")
    assert torch.allclose(one.images, other.images, atol=1e-6)
    assert torch.equal(one.targets, other.targets)
    assert torch.equal(one.targets.argmax(1), torch.arange(10))
    assert torch.allclose(one.images[:, 0, 0, 0], (torch.arange(10) / 255 - 0.5) / 0.25)


def test_soft_targets_come_in_as_they_are(tmp_path: Path) -> None:
    targets = np.full((10, 10), 0.05) + 0.5 * np.eye(10)
    np.savez(tmp_path / "soft.npz", images=good()["images"], targets=targets)
    assert torch.allclose(brought_in(tmp_path / "soft.npz").targets, torch.from_numpy(targets).float())


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (changed("images", None), "needs 'images' and 'labels' (or 'targets')"),
        ({"image": good()["images"], "labels": np.arange(10)}, "did you mean 'image'?"),
        (changed("labels", None), "needs 'images' and 'labels' (or 'targets')"),
        (changed("images", np.zeros((10, 8, 8), np.float32)), "images have shape (8, 8), the data set has (1, 8, 8)"),
        (changed("images", np.zeros((10, 3, 8, 8), np.float32)), "images have shape (3, 8, 8), the data set has"),
        (changed("images", np.float32(3)), "images have shape (), the data set has (1, 8, 8)"),
        (changed("images", np.full((10, *SHAPE), np.nan, np.float32)), "images hold numbers that are not finite"),
        (
            changed("images", np.zeros((10, *SHAPE), np.int64)),
            "images have dtype torch.int64; expected uint8, or floats",
        ),
        (changed("labels", np.arange(10) + 1), "labels must be 10 numbers in 0 … 9"),
        (changed("labels", np.arange(10) - 1), "labels must be 10 numbers in 0 … 9"),
        (changed("labels", np.arange(9)), "labels must be 10 numbers in 0 … 9"),
        (changed("targets", np.eye(9, dtype=np.float32)), "targets have shape (9, 9), expected (10, 10)"),
        (changed("student_lr", np.float32(-0.1)), "student_lr must be positive, got [-0.1"),
        (changed("student_lr", np.float32("nan")), "student_lr must be positive, got [nan]"),
        (changed("images", np.array(["a"] * 10)), "needs 'images' and 'labels' (or 'targets')"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused_by_name(tmp_path: Path, arrays: dict[str, Any], expected: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    with pytest.raises(ArtifactError) as found:
        brought_in(path)
    assert str(found.value).startswith(f"{path}: ")
    assert expected in str(found.value)


def _cut(path: Path) -> None:
    np.savez(path, **good())
    path.write_bytes(path.read_bytes()[:200])


def _pickled(path: Path) -> None:
    np.savez(path, images=np.array([object()]), labels=np.arange(1))


def _plain_array(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, good()["images"])


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 not a zip"),
        lambda path: path.write_text("hello"),
        _cut,
        _pickled,
        _plain_array,
    ],
    ids=["nothing", "folder", "empty", "no zip", "text", "cut short", "pickled", "npy"],
)
def test_a_file_that_is_no_npz_is_refused_by_name(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "set.npz"
    make(path)
    with pytest.raises(ArtifactError, match=f"^{path}: cannot be read as .npz"):
        brought_in(path)
