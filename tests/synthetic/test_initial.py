"""The first images: real ones of the right class, or noise."""

import pytest
import torch

import tiny
from datadistill.core.errors import DataError
from datadistill.core.randomness import Randomness
from datadistill.data import fit_preprocess
from datadistill.synthetic.initial import initial_set
from datadistill.synthetic.texture import Texture


@pytest.fixture
def data():
    return tiny.real_data()


@pytest.fixture
def preprocess(data):
    return fit_preprocess("normalise", data)


@pytest.mark.parametrize("ipc", [1, 3, 20])
def test_real_images_are_distinct_training_images_of_their_class(data, preprocess, ipc):
    images, targets = initial_set("real", data, preprocess, ipc=ipc, rng=Randomness(0))
    assert images.shape == (tiny.CLASSES * ipc, *tiny.SHAPE)
    assert torch.equal(targets, torch.eye(tiny.CLASSES).repeat_interleave(ipc, 0))
    pixels = preprocess.invert(images)
    rows = [(data.train.images == one).all((1, 2, 3)).nonzero().flatten().tolist() for one in pixels]
    assert all(len(found) == 1 for found in rows), "an image that is not in the training split, or twice"
    assert len({found[0] for found in rows}) == len(rows)
    labels = data.train.labels[torch.tensor([found[0] for found in rows])]
    assert torch.equal(labels, targets.argmax(1))


def test_noise_is_standard_normal_in_network_space(data, preprocess):
    images, targets = initial_set("noise", data, preprocess, ipc=50, rng=Randomness(0))
    assert images.shape == (150, *tiny.SHAPE)
    assert abs(images.mean()) < 0.05
    assert abs(images.std() - 1) < 0.05
    assert targets.sum(0).tolist() == [50] * tiny.CLASSES


@pytest.mark.parametrize("choice", ["real", "noise"])
def test_depends_on_the_randomness_only(data, preprocess, choice):
    first, again, other = (initial_set(choice, data, preprocess, ipc=2, rng=Randomness(seed))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_too_many_are_refused(data, preprocess):
    with pytest.raises(DataError, match="has 20 images, 21 were asked for"):
        initial_set("real", data, preprocess, ipc=21, rng=Randomness(0))


def test_a_canvas_of_real_images_is_made_of_distinct_ones_of_its_class(data, preprocess):
    texture = Texture(canvas=2, start="tiles")
    canvases, targets = initial_set("real", data, preprocess, ipc=2, rng=Randomness(0), texture=texture)
    assert canvases.shape == (tiny.CLASSES * 2, *texture.shape(tiny.SHAPE))
    pixels, used = preprocess.invert(canvases), []
    for canvas, target in zip(pixels, targets, strict=True):
        for tile in (canvas[:, y : y + 8, x : x + 8] for y in (0, 8) for x in (0, 8)):
            (row,) = (data.train.images == tile).all((1, 2, 3)).nonzero().flatten().tolist()
            assert data.train.labels[row] == target.argmax()
            used.append(row)
    assert len(set(used)) == len(used) == tiny.CLASSES * 2 * 4


def test_canvases_of_noise_are_as_large(data, preprocess):
    canvases, _ = initial_set("noise", data, preprocess, ipc=2, rng=Randomness(0), texture=Texture(canvas=3))
    assert canvases.shape == (tiny.CLASSES * 2, 1, 24, 24)


def test_too_many_for_the_canvases_are_refused(data, preprocess):
    with pytest.raises(DataError, match="has 20 images, 24 were asked for"):
        initial_set("real", data, preprocess, ipc=6, rng=Randomness(0), texture=Texture(canvas=2, start="tiles"))
