"""Crop and flip against padding and slicing one image at a time."""

import pytest
import torch
from torch.nn import functional as F

from datadistill.augment import CropFlip


@pytest.mark.parametrize("fill", ["zero", "reflect"])
def test_equals_pad_slice_and_mirror(fill):
    x = torch.randn(20, 2, 32, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    augment = CropFlip(fill=fill)
    draws = augment.draw(torch.Generator().manual_seed(0), steps=1, batch=20)[0]
    result = augment.apply(x, draws)
    padded = F.pad(x, (3, 3, 4, 4), mode="reflect" if fill == "reflect" else "constant")
    for i, (down, right, chance) in enumerate(draws.uniforms.tolist()):
        top, left = int(down * 9), int(right * 7)
        expected = padded[i, :, top : top + 32, left : left + 24]
        expected = expected.flip(2) if chance < 0.5 else expected
        torch.testing.assert_close(result[i], expected, rtol=0, atol=0)
