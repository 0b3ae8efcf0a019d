"""Tiles and film: the right images in the right places, within bounds."""

import base64
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datadistill.report import collect
from datadistill.report.collect import Frame
from datadistill.report.film import film, spread
from datadistill.report.tiles import gallery, rows_by_class
from report.fake_run import artifact_of, write_run


def _open(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def _images(n: int, channels: int = 3, size: int = 16) -> torch.Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_tiles_are_the_images_without_their_normalisation() -> None:
    images = _images(6)
    shown = gallery(artifact_of(images, 2, ("a", "b", "c")), "x")
    assert [tiles.name for tiles in shown.classes] == ["a", "b", "c"]
    expected = (images[3] * 255).round().permute(1, 2, 0).byte().numpy()
    assert np.abs(_open(shown.classes[1].uris[1]).astype(int) - expected).max() <= 1
    assert shown.note == ""


@pytest.mark.parametrize(("channels", "mode"), [(1, 2), (2, 2), (3, 3), (4, 2)])
def test_any_number_of_channels(channels: int, mode: int) -> None:
    shown = gallery(artifact_of(_images(2, channels), 1, ("a", "b")), "x")
    assert _open(shown.classes[0].uris[0]).ndim == mode


@pytest.mark.parametrize(("ipc", "rows"), [(1, False), (3, False), (10, True), (50, True)])
def test_layout_by_images_per_class(ipc: int, rows: bool) -> None:
    assert gallery(artifact_of(_images(4 * ipc, 1, 8), ipc, tuple("abcd")), "x").in_rows == rows


def test_too_many_images_are_cut_and_said() -> None:
    shown = gallery(artifact_of(_images(40, 3, 256), 10, tuple("abcd")), "x")
    assert [len(tiles.uris) for tiles in shown.classes] == [7] * 4
    assert "7 of 10 images per class" in shown.note and not shown.pixelated


def test_rows_follow_the_targets_where_counts_do_not_fit() -> None:
    artifact = artifact_of(_images(4), 2, ("a", "b"))
    synthetic = dataclasses.replace(
        artifact.synthetic, images=artifact.synthetic.images[1:], targets=artifact.synthetic.targets[1:]
    )
    assert rows_by_class(dataclasses.replace(artifact, synthetic=synthetic)) == [[0], [1, 2]]


@pytest.mark.parametrize(
    ("classes", "ipc", "across", "deep"), [(10, 1, 5, 2), (4, 1, 4, 1), (3, 5, 3, 3), (40, 1, 10, 3)]
)
def test_frames_are_cut_into_the_images_they_show(
    tmp_path: Path, classes: int, ipc: int, across: int, deep: int
) -> None:
    names = tuple(f"class {i}" for i in range(classes))
    images = _images(classes * ipc)
    run = write_run(tmp_path / "tiny", images, ipc, names, frames=3)
    shown = film(collect(run))
    assert shown is not None
    assert shown.iterations == (0, 250, 500)
    assert (shown.across, shown.width, shown.height) == (across, across * 17 - 1, deep * 17)
    strip = _open(shown.uri)
    assert strip.shape == (3 * shown.height, shown.width, 4)
    last = strip[2 * shown.height :]
    second_right = last[:16, 17:33, :3]
    expected = (images[ipc if classes <= 10 else 1] * 255).round().permute(1, 2, 0).byte().numpy()
    np.testing.assert_array_equal(second_right, expected)
    assert (last[16, :, 3] == 0).all() and (last[:16, 16, 3] == 0).all()


def test_without_a_card_the_pictures_are_shown_whole(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tiny", frames=3)
    for folder in (run.synthetic, run.variant("selected")):
        (folder / "card.json").unlink()
    shown = film(collect(run))
    assert shown is not None and shown.across == 0 and (shown.width, shown.height) == (36, 342)


def test_large_frames_stay_within_the_budget(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tiny", _images(10, 3, 128), 1, frames=8)
    shown = film(collect(run))
    assert shown is not None and len(shown.uri) < 1_500_000
    assert shown.iterations[0] == 0 and shown.iterations[-1] == 500


def test_damaged_and_odd_frames_are_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "tiny", frames=4)
    (run.frames / "iteration_000167.png").write_bytes(b"no picture")
    Image.new("L", (5, 5)).save(run.frames / "iteration_000333.png")
    shown = film(collect(run))
    assert shown is not None and shown.iterations == (0, 500)


def test_one_frame_is_no_film(tmp_path: Path) -> None:
    assert film(collect(write_run(tmp_path / "tiny", frames=1))) is None


def test_spread_keeps_the_ends() -> None:
    frames = [Frame(i, Path(str(i))) for i in range(101)]
    kept = spread(frames, 40)
    assert len(kept) == 40 and kept[0].iteration == 0 and kept[-1].iteration == 100
    assert spread(frames[:3], 40) == frames[:3]
