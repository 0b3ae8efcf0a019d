"""Grids of images."""

import numpy as np
import pytest
import torch
from PIL import Image

from datadistill.synthetic.pictures import REPETITIONS, grid, read_grid, repeated, save_grid

GAP = 2


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (2, "L")])
@pytest.mark.parametrize("n", [1, 4, 5, 6])
def test_every_image_is_where_it_belongs(n, channels, mode):
    pixels = torch.rand(n, channels, 8, 16, generator=torch.Generator().manual_seed(0))
    picture = grid(pixels, columns=3)
    assert picture.mode == mode
    rows, scale = -(-n // 3), 4
    assert picture.size == (3 * (16 * scale + GAP) + GAP, rows * (8 * scale + GAP) + GAP)
    array = np.array(picture).reshape(picture.size[1], picture.size[0], -1)
    for i, image in enumerate(pixels):
        top, left = (i // 3) * (8 * scale + GAP) + GAP, (i % 3) * (16 * scale + GAP) + GAP
        tile = array[top : top + 8 * scale, left : left + 16 * scale]
        shown = image if channels != 2 else image[:1]
        expected = (shown * 255).round().permute(1, 2, 0).numpy()
        for dy, dx in ((0, 0), (scale - 1, scale - 1)):
            assert np.array_equal(tile[dy::scale, dx::scale], expected)
    assert (array[:GAP] == 255).all()


@pytest.mark.parametrize(("channels", "n", "size"), [(1, 5, (8, 16)), (3, 6, (40, 36)), (2, 1, (8, 8))])
def test_images_are_read_back_from_a_picture(tmp_path, channels, n, size):
    pixels = torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(0))
    save_grid(tmp_path / "grid.png", pixels, 3)
    shown = pixels if channels != 2 else pixels[:, :1]
    found = read_grid(tmp_path / "grid.png", size, 3, n)
    assert found.shape == shown.shape
    assert (found - shown).abs().max() < 0.51 / 255


@pytest.mark.parametrize(("size", "scale"), [(8, 4), (28, 2), (32, 1), (64, 1), (1, 32)])
def test_small_images_are_enlarged(size, scale):
    assert grid(torch.zeros(1, 1, size, size), 1).size == (size * scale + 2 * GAP,) * 2


def test_values_outside_are_clipped():
    array = np.array(grid(torch.tensor([-3.0, 7.0]).view(2, 1, 1, 1).expand(-1, -1, 32, 32), 2))
    assert array[GAP, GAP] == 0
    assert array[GAP, -GAP - 1] == 255


def test_saves_a_png(tmp_path):
    pixels = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    save_grid(tmp_path / "new" / "grid.png", pixels, 2)
    with Image.open(tmp_path / "new" / "grid.png") as picture:
        assert picture.format == "PNG"
        assert np.array_equal(np.array(picture), np.array(grid(pixels, 2)))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["grid.png"]


@pytest.mark.parametrize("kind", REPETITIONS)
def test_textures_are_laid_beside_themselves(kind):
    pixels = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    array, (down, along, columns) = np.array(repeated(pixels, kind)), REPETITIONS[kind]
    assert array.shape[:2] == (-(-10 // columns) * (32 * down + GAP) + GAP, columns * (32 * along + GAP) + GAP)
    one = (pixels[0] * 255).round().permute(1, 2, 0).numpy()
    for i in range(down):
        for j in range(along):
            assert np.array_equal(array[GAP + 32 * i : GAP + 32 * (i + 1), GAP + 32 * j : GAP + 32 * (j + 1)], one)
