"""Laws that every network obeys."""

import pickle

import pytest
import torch
from torch.func import grad
from torch.nn import functional as F

from datadistill.networks import NETWORKS, build_network, canonical_name

NAMES = [
    *NETWORKS,
    "convnet-1-w4",
    *(f"convnet-2-w8-{norm}norm" for norm in ("batch", "layer", "group", "no")),
    *(f"convnet-2-w4-{activation}" for activation in ("sigmoid", "leakyrelu", "swish")),
    *(f"convnet-2-w4-{pooling}pool" for pooling in ("max", "no")),
]
SHAPE, CLASSES = (1, 28, 28), 4

pytestmark = pytest.mark.parametrize("name", NAMES)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=3):
    return torch.randn(n, *SHAPE, generator=generator(1))


def test_flat_equals_the_module(name):
    network = build_network(name, SHAPE, CLASSES)
    with torch.random.fork_rng(devices=[]):
        module = network.factory()
    params = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    assert network.parameter_count == len(params)
    assert network.shapes == tuple(tuple(parameter.shape) for parameter in module.parameters())
    assert torch.equal(network(params, images()), module(images()))


def test_initial_weights_depend_on_the_generator_only(name):
    network = build_network(name, SHAPE, CLASSES)
    before = torch.get_rng_state()
    first, again, other = (network.initial(generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.isfinite().all()


def test_is_a_pure_function(name):
    network = build_network(name, SHAPE, CLASSES)
    params, x = network.initial(generator()), images()
    copies = params.clone(), x.clone()
    logits = network(params, x)
    network(params * 2, x + 1)
    network.with_statistics(params, x + 1)
    assert logits.shape == (3, CLASSES)
    assert torch.equal(network(params, x), logits)
    assert torch.equal(params, copies[0])
    assert torch.equal(x, copies[1])


def test_one_image_at_evaluation_does_not_depend_on_the_others(name):
    network = build_network(name, SHAPE, CLASSES)
    params, statistics = network.initial(generator()), network.initial_statistics()
    together = network(params, images(), statistics)
    alone = network(params, images()[:1], statistics)
    torch.testing.assert_close(alone, together[:1], rtol=1e-4, atol=1e-5)


def test_gradient_reaches_parameters_in_their_dtype(name):
    network = build_network(name, SHAPE, CLASSES)
    params = network.initial(generator()).double()

    def loss(params):
        return F.cross_entropy(network(params, images().double()), torch.arange(3))

    gradient = grad(loss)(params)
    assert gradient.dtype == torch.float64
    assert gradient.isfinite().all()
    assert gradient.any()


def test_name_is_canonical_and_the_network_pickles(name):
    network = build_network(name, SHAPE, CLASSES)
    assert canonical_name(network.name) == network.name
    assert pickle.loads(pickle.dumps(network)).shapes == network.shapes


@pytest.mark.gpu
def test_runs_where_its_parameters_are(name):
    network = build_network(name, SHAPE, CLASSES)
    params, x = network.initial(generator()).double(), images().double()
    on_gpu = network(params.cuda(), x.cuda())
    torch.testing.assert_close(on_gpu.cpu(), network(params, x), rtol=1e-9, atol=1e-11)
