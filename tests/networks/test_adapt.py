"""Torch's own norms are replaced by ours where exact, to second order and under vmap; dropout is refused by name."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.func import grad, vmap
from torch.nn import functional as F

from datadistill.core.errors import UsageError
from datadistill.networks import BatchNorm, FlatNetwork, LayerNorm
from datadistill.networks.adapt import adapted

pytestmark = pytest.mark.usefixtures("global_generators")


class Residual(nn.Module):
    """Written as people write networks: torch's norms, ReLUs in place, one norm used twice."""

    def __init__(self, norm):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = norm()
        self.relu = nn.ReLU(inplace=True)
        self.inner = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), norm(), nn.SiLU(inplace=True))
        self.again = nn.ModuleDict({"same": self.norm})
        self.head = nn.Linear(6, 3)

    def forward(self, images):
        maps = self.relu(self.norm(self.stem(images)))
        maps = self.relu(self.again["same"](maps + self.inner(maps)))
        return self.head(maps.mean((2, 3)))


NORMS = {
    "batch": (lambda: nn.BatchNorm2d(6, eps=1e-3, momentum=1.0), BatchNorm),
    "layer": (lambda: nn.LayerNorm((6, 5, 5), eps=1e-6), LayerNorm),
    "rows": (lambda: nn.LayerNorm(5), LayerNorm),
    "instance": (lambda: nn.InstanceNorm2d(6, affine=True, eps=1e-3), nn.GroupNorm),
    "plain instance": (lambda: nn.InstanceNorm2d(6), nn.GroupNorm),
}


def shaken(module):
    for parameter in module.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    return module.double()


@pytest.mark.parametrize("name", NORMS)
def test_the_network_is_the_same_function_with_the_same_parameters(name):
    norm, ours = NORMS[name]
    module, network = shaken(Residual(norm)), FlatNetwork(partial(Residual, norm), name="mine")
    assert sum(isinstance(layer, ours) for layer in network._module.modules()) == 2
    assert network.shapes == tuple(tuple(parameter.shape) for parameter in module.parameters())
    params = torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).requires_grad_()
    images = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(network(params, images), module(images))
    expected = torch.autograd.grad(module(images).square().sum(), list(module.parameters()))
    (gradient,) = torch.autograd.grad(network(params, images).square().sum(), params)
    torch.testing.assert_close(gradient, torch.cat([part.flatten() for part in expected]))


@pytest.mark.parametrize("name", NORMS)
def test_through_vmap_derivatives_are_right(name):
    network = FlatNetwork(partial(Residual, NORMS[name][0]), name="mine")
    params = torch.stack([network.initial(torch.Generator().manual_seed(seed)).double() for seed in range(2)])
    params += 0.3 * torch.randn_like(params)
    images = torch.randn(4, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    one = grad(lambda p, x: F.cross_entropy(network(p, x), torch.arange(4) % 3))
    mapped, looped = vmap(one, (0, None))(params, images), torch.stack([one(p, images) for p in params])
    cotangents = torch.randn_like(params)
    found = [torch.autograd.grad((way * cotangents).sum(), images)[0] for way in (mapped, looped)]
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("home", ["torchvision.models.convnext", "timm.layers.norm", "somewhere.else"])
def test_channel_norms_of_other_libraries_are_ours(home):
    class LayerNorm2d(nn.LayerNorm):
        def forward(self, images):
            return super().forward(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    LayerNorm2d.__module__, LayerNorm2d.__qualname__ = home, "LayerNorm2d"

    def build():
        return nn.Sequential(nn.Conv2d(2, 6, 3), LayerNorm2d(6, eps=1e-3), nn.Flatten(), nn.Linear(54, 3))

    if home == "somewhere.else":
        with pytest.raises(UsageError, match=r"layer '1' \(LayerNorm2d\)"):
            FlatNetwork(build, name="mine")
        return
    module, network = shaken(build()), FlatNetwork(build, name="mine")
    params = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    images = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(network(params, images), module(images))


def test_statistics_at_test_time_are_torchs():
    module = shaken(nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6, momentum=1.0), nn.Flatten(), nn.Linear(54, 3)))
    network = FlatNetwork(
        lambda: nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(54, 3)), name="mine"
    )
    params = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    images, others = torch.randn(2, 4, 2, 5, 5, dtype=torch.float64)
    module(images)
    _, statistics = network.with_statistics(params, images)
    torch.testing.assert_close(network(params, others, statistics), module.eval()(others))


def test_a_shared_layer_stays_shared_and_initial_values_stay():
    module = Residual(lambda: nn.LayerNorm(5))
    nn.init.zeros_(module.norm.weight)
    weight = module.norm.weight
    assert adapted(module) is module
    assert module.again["same"] is module.norm
    assert module.norm.weight is weight


def test_a_module_that_is_a_norm_is_replaced_itself():
    assert isinstance(adapted(nn.BatchNorm2d(3)), BatchNorm)


class Subclass(nn.BatchNorm2d):
    """May compute anything."""


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (partial(nn.BatchNorm2d, 3, affine=False), r"layer '1' \(BatchNorm2d\).*use datadistill.networks.BatchNorm"),
        (partial(nn.BatchNorm2d, 3, track_running_stats=False), "BatchNorm2d"),
        (partial(nn.BatchNorm1d, 3), "BatchNorm1d"),
        (partial(Subclass, 3), r"\(Subclass\) mutates its running statistics"),
        (partial(nn.InstanceNorm2d, 3, track_running_stats=True), "use nn.GroupNorm"),
        (partial(nn.InstanceNorm1d, 3), "use nn.GroupNorm"),
        (partial(nn.LayerNorm, 3, elementwise_affine=False), "use datadistill.networks.LayerNorm"),
        (partial(nn.LayerNorm, 3, bias=False), "use datadistill.networks.LayerNorm"),
        (partial(nn.Dropout, 0.5), r"layer '1' \(Dropout\) draws random numbers"),
    ],
)
def test_what_has_no_equal_is_refused_by_name(layer, message):
    with pytest.raises(UsageError, match=message):
        FlatNetwork(lambda: nn.Sequential(nn.Flatten(), layer()), name="test")


@pytest.mark.parametrize(("name", "rate"), [("DropPath", "drop_prob"), ("DropPath", "rate"), ("StochasticDepth", "p")])
def test_random_layers_of_other_libraries_are_refused_by_name(name, rate):
    def build(value):
        layer = type(name, (nn.Module,), {})()
        setattr(layer, rate, value)
        return nn.Sequential(nn.Flatten(), layer)

    FlatNetwork(partial(build, 0.0), name="test")
    with pytest.raises(UsageError, match=rf"\({name}\) draws random numbers"):
        FlatNetwork(partial(build, 0.1), name="test")
