"""Textures: windows of canvases whose edges meet, and how well they do."""

import pytest
import torch

from datadistill.core.randomness import Randomness
from datadistill.synthetic.texture import Texture, seam


def canvases(n=3, size=8, dtype=torch.float64):
    return torch.randn(n, 2, size, size, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize(("canvas", "samples"), [(0, 1), (2, 0), (-1, 2)])
def test_settings_out_of_range_are_refused(canvas, samples):
    with pytest.raises(ValueError, match=f"at least 1, got {canvas} and {samples}"):
        Texture(canvas=canvas, samples=samples)


@pytest.mark.parametrize("canvas", [1, 2, 4])
def test_a_window_is_the_corner_of_a_rolled_canvas(canvas):
    texture, images = Texture(canvas=canvas), canvases()
    offsets = torch.tensor([[0.0, 0.0], [0.999, 0.5], [0.3, 0.99999994]])
    found, side = texture.windows(images, offsets), 8 // canvas
    for one, whole, (down, along) in zip(found, images, [(0, 0), (7, 4), (2, 7)], strict=True):
        assert torch.equal(one, whole.roll((-down, -along), (1, 2))[:, :side, :side])


def test_every_offset_is_drawn_about_equally_often_and_by_itself():
    offsets = Texture(samples=2).draw(Randomness(0), steps=500, batch=8)
    assert offsets.shape == (500, 16, 2)
    places = (offsets * 8).long()
    for axis in (0, 1):
        counts = torch.bincount(places[..., axis].flatten(), minlength=8)
        assert (counts > 850).all()
        assert (counts < 1150).all()
    pairs = torch.bincount((places[..., 0] * 8 + places[..., 1]).flatten(), minlength=64)
    assert (pairs > 70).all(), "the two offsets depend on one another"


def test_draws_depend_on_the_randomness_only():
    first, again, other = (Texture().draw(Randomness(seed), steps=3, batch=4) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_windows_are_differentiable_whatever_rows_are_repeated():
    texture, images = Texture(samples=2), canvases(n=2, size=4).requires_grad_()
    (offsets,) = texture.draw(Randomness(0), steps=1, batch=2)
    rows = texture.repeat(torch.arange(2))
    assert rows.tolist() == [0, 1, 0, 1]
    assert torch.autograd.gradcheck(lambda x: texture.windows(x[rows], offsets), images)


def test_assembled_canvases_hold_their_images_row_by_row():
    images = canvases(n=8, size=4)
    whole = Texture(start="tiles").assemble(images)
    assert whole.shape == (2, 2, 8, 8)
    for i, (down, along) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
        assert torch.equal(whole[1, :, down : down + 4, along : along + 4], images[4 + i])


@pytest.mark.parametrize("canvas", [2, 4])
def test_mirrored_canvases_meet_in_equal_pixels_everywhere(canvas):
    images, size = canvases(n=3, size=4), 4
    texture = Texture(canvas=canvas)
    whole = texture.assemble(images)
    assert texture.tiles == 1
    assert whole.shape == (3, 2, 4 * canvas, 4 * canvas)
    for down in range(canvas):
        for along in range(canvas):
            tile = whole[:, :, down * size : (down + 1) * size, along * size : (along + 1) * size]
            flipped = images.flip([axis for axis, odd in ((2, down % 2), (3, along % 2)) if odd])
            assert torch.equal(tile, flipped)
    assert seam(whole, canvas) == 0


def test_what_fills_a_canvas():
    assert [Texture(canvas=c).tiles for c in (1, 2, 3, 4)] == [1, 1, 9, 1]
    assert Texture(canvas=2, start="tiles").tiles == 4
    with pytest.raises(ValueError, match="start 'mirrored' needs an even canvas, got 3"):
        Texture(canvas=3, start="mirrored")


class TestSeam:
    def test_noise_has_none(self):
        assert seam(torch.rand(50, 3, 16, 16, generator=torch.Generator().manual_seed(0)), 2) == pytest.approx(1, 0.02)

    def test_tiles_of_single_colours_are_nothing_but_seams(self):
        """Between columns within a tile nothing changes but a little noise."""
        colours = torch.tensor([0.0, 1.0, 1.0, 0.0]).view(4, 1, 1, 1).expand(4, 1, 4, 4)
        noise = 0.01 * torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        assert seam(Texture(start="tiles").assemble(colours + noise), 2) > 100

    @pytest.mark.parametrize("canvas", [1, 2])
    def test_is_the_ratio_of_two_means_worked_out_by_hand(self, canvas):
        pixels = torch.tensor([0.0, 1.0, 3.0, 3.5]).expand(1, 1, 4, 4)  # columns; rows are equal
        across, within = {1: ([3.5], [1, 2, 0.5]), 2: ([2, 3.5], [1, 0.5])}[canvas]
        assert seam(pixels, canvas) == pytest.approx((sum(across) / len(across)) / (sum(within) / len(within)))

    def test_of_a_single_colour_is_one(self):
        assert seam(torch.zeros(1, 1, 4, 4), 2) == 1.0
