"""DSA against the slow reference, and the laws of its random numbers."""

import pytest
import torch

from datadistill.augment import DSA, StepDraws
from datadistill.augment.dsa import SLOTS
from datadistill.core.errors import UnknownNameError, UsageError
from reference.dsa import augment as reference

JUST_BELOW_ONE = 1 - 2**-24
OPERATIONS = list(SLOTS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=4, c=3, h=8, w=8, dtype=torch.float64):
    return torch.randn(n, c, h, w, generator=generator(1), dtype=dtype)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (9, 6), (5, 7)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_equals_the_reference(name, size, align_corners):
    x = images(5, 3, *size)
    dsa = DSA(strategy=(name,), align_corners=align_corners)
    draws = dsa.draw(generator(), steps=1, batch=5)[0]
    expected = reference(x, [name], draws.uniforms.double(), align_corners=align_corners)
    torch.testing.assert_close(dsa.apply(x, draws), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("uniform", [0.0, 0.5, JUST_BELOW_ONE])
@pytest.mark.parametrize("name", OPERATIONS)
def test_extreme_numbers_equal_the_reference(name, uniform):
    x = images(1, 3, 16, 16)
    numbers = torch.full((1, SLOTS[name]), uniform)
    assert numbers.max() < 1
    expected = reference(x, [name], numbers.double(), align_corners=True)
    result = DSA(strategy=(name,)).apply(x, StepDraws((name,), numbers))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def test_multiple_applies_all_in_order():
    x = images(3, 3, 7, 7)
    dsa = DSA(mode="multiple", strategy=("rotate", "color", "crop", "flip", "scale", "cutout"))
    draws = dsa.draw(generator(), steps=2, batch=3)[1]
    assert draws.operations == dsa.strategy
    expected = reference(x, list(dsa.strategy), draws.uniforms.double(), align_corners=True)
    torch.testing.assert_close(dsa.apply(x, draws), expected, rtol=0, atol=1e-12)


def test_single_draws_every_operation_and_one_per_step():
    draws = DSA().draw(generator(), steps=200, batch=1)
    assert {len(names) for names in draws.operations} == {1}
    assert {names[0] for names in draws.operations} == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradient_wrt_images(name):
    x = images(2, 2, 5, 4).requires_grad_()
    dsa = DSA(strategy=(name,))
    draws = dsa.draw(generator(3), steps=1, batch=2)[0]
    assert torch.autograd.gradcheck(lambda images: dsa.apply(images, draws), (x,))


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_siamese_draw_gives_batches_of_any_size_the_same_parameters(name):
    dsa = DSA(strategy=(name,), siamese=True)
    draws = dsa.draw(generator(), steps=3, batch=256)
    assert draws.uniforms.shape[:2] == (3, 1)
    image = images(1)
    alone = dsa.apply(image, draws[1])
    for n in (1, 3, 7):
        result = dsa.apply(image.expand(n, -1, -1, -1), draws.rows(n)[1])
        torch.testing.assert_close(result, alone.expand(n, -1, -1, -1), rtol=0, atol=0)


def test_images_of_a_batch_differ_unless_siamese():
    image = images(1).expand(2, -1, -1, -1)
    dsa = DSA(strategy=("color",))
    first, second = dsa.apply(image, dsa.draw(generator(), steps=1, batch=2)[0])
    assert not torch.allclose(first, second)


def test_a_shorter_batch_takes_the_first_rows():
    x, dsa = images(5), DSA(mode="multiple")
    draws = dsa.draw(generator(), steps=1, batch=5)
    whole, part = dsa.apply(x, draws[0]), dsa.apply(x[:2], draws.rows(2)[0])
    torch.testing.assert_close(part, whole[:2], rtol=0, atol=1e-14)
    torch.testing.assert_close(dsa.apply(x[:2], draws[0].rows(2)), part, rtol=0, atol=0)


def test_numbers_that_do_not_fit_the_batch_are_refused():
    dsa = DSA()
    draws = dsa.draw(generator(), steps=1, batch=3)
    with pytest.raises(ValueError, match=r"take \.rows\(2\)"):
        dsa.apply(images(2), draws[0])
    with pytest.raises(ValueError, match="not for 4"):
        draws.rows(4)


def test_cutout_centres_run_over_the_border():
    dsa = DSA(strategy=("cutout",))
    numbers = dsa.draw(generator(), steps=1, batch=3000)[0]
    removed = (dsa.apply(torch.ones(3000, 1, 32, 32), numbers) == 0)[:, 0]
    heights = removed.any(2).sum(1)
    assert (int(heights.min()), int(heights.max())) == (8, 16)  # centres 0 and 32 leave half a box
    assert abs(removed.sum((1, 2)).float().mean() - 190.9) < 4  # 13.8 per side


def test_crop_reaches_every_translation():
    dsa = DSA(strategy=("crop",))
    numbers = dsa.draw(generator(), steps=1, batch=1000)[0]
    image = torch.arange(32.0).view(1, 1, 32, 1).expand(1000, 1, 32, 32) + 1
    shifts = dsa.apply(image, numbers)[:, 0, 16].amax(1) - 17
    assert sorted(set(shifts.tolist())) == list(range(-4, 5))


def test_scale_is_uniform_between_inverses():
    """On an image that is x itself, aligned sampling multiplies by sx."""
    dsa = DSA(strategy=("scale",))
    numbers = dsa.draw(generator(), steps=1, batch=5000)[0]
    image = torch.linspace(-1, 1, 33).expand(5000, 1, 33, 33)
    factor = dsa.apply(image, numbers)[:, 0, 16, 20] / image[0, 0, 16, 20]
    assert factor.min() >= 1 / 1.2 - 1e-5
    assert factor.max() <= 1.2 + 1e-5
    assert abs(factor.mean() - 1.0167) < 0.005


def test_half_precision_images_are_sampled_at_float32_coordinates():
    x, dsa = images(2, 3, 32, 32, torch.float32), DSA(strategy=("rotate",))
    draws = dsa.draw(generator(), steps=1, batch=2)[0]
    half = dsa.apply(x.bfloat16(), draws)
    assert half.dtype == torch.bfloat16
    assert (half.float() - dsa.apply(x, draws)).abs().max() < 0.05


def test_impossible_settings_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'cutout'"):
        DSA(strategy=("cutuot",))
    with pytest.raises(UsageError, match="empty"):
        DSA(strategy=())
    with pytest.raises(UsageError, match="at least 1"):
        DSA(scale=0.5)
