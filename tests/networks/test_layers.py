"""Which layers a flat network takes and refuses, and that our layer norm is torch's."""

from functools import partial

import pytest
import torch
from torch import nn

from datadistill.core.errors import UsageError
from datadistill.networks import FlatNetwork, LayerNorm


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(6,), (4, 6)])
def test_layer_norm_is_torchs(shape):
    inputs = torch.randn(3, 4, 6, generator=generator(), dtype=torch.float64, requires_grad=True)
    ours, theirs = LayerNorm(shape).double(), nn.LayerNorm(shape).double()
    for layer in (ours, theirs):
        layer.weight.data = torch.randn(shape, generator=generator(1), dtype=torch.float64)
        layer.bias.data = torch.randn(shape, generator=generator(2), dtype=torch.float64)
    torch.testing.assert_close(ours(inputs), theirs(inputs))
    gradients = [torch.autograd.grad(layer(inputs).square().sum(), inputs)[0] for layer in (ours, theirs)]
    torch.testing.assert_close(*gradients)


class WithTensor(nn.Module):
    def __init__(self):
        super().__init__()
        self.constant = torch.ones(3)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (partial(nn.Dropout, 0.1), "draws random numbers"),
        (partial(nn.Dropout2d, 0.1), "draws random numbers"),
        (partial(nn.AlphaDropout, 0.1), "draws random numbers"),
        (nn.RReLU, "draws random numbers"),
        (partial(nn.MultiheadAttention, 4, 2, dropout=0.1), "draws random numbers"),
        (WithTensor, "holds a tensor 'constant'"),
    ],
)
def test_impure_layers_are_refused_by_name(layer, message):
    with pytest.raises(UsageError, match=message):
        FlatNetwork(lambda: nn.Sequential(nn.Flatten(), layer()), name="test")


def test_a_buffer_is_refused_by_name():
    class WithBuffer(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.ones(3))

    with pytest.raises(UsageError, match=r"the module itself \(WithBuffer\) has a buffer 'table'"):
        FlatNetwork(WithBuffer, name="test")


def test_dropout_of_rate_zero_is_harmless():
    FlatNetwork(lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Linear(4, 2)), name="test")
