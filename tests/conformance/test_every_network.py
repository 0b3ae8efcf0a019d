"""Laws that every network obeys."""

import pickle

import jaxtyping
import pytest
import torch
from torch.func import grad, vjp, vmap
from torch.nn import functional as F

from datadistill.networks import NETWORKS, build_network, canonical_name

SMALL = [
    "convnet-3",
    "mlp",
    "lenet",
    "lenet+xavier",
    "convnet-1-w4",
    "convnet-2-w4-gap",
    *(f"convnet-2-w8-{norm}norm" for norm in ("batch", "layer", "group", "no")),
    *(f"convnet-2-w4-{activation}" for activation in ("sigmoid", "leakyrelu", "swish")),
    *(f"convnet-2-w4-{pooling}pool" for pooling in ("max", "no")),
    "alexcifarnet",
    "vit-apm",
]
BIG = [name for family in NETWORKS.values() for name in family.members if name not in SMALL]
NAMES = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in BIG)]
CLASSES = 4

every = pytest.mark.parametrize("name", NAMES)


def shape_of(name):
    """The shape of the images a network is tried on: as small as it can be, but 28 × 28, which is padded."""
    if "imagenet" in name:
        return (3, 224, 224) if "alexnet" in name else (3, 40, 40)
    return (3, 64, 64) if name in ("convnet-5", "convnet-6") else (1, 28, 28)


def build(name):
    return build_network(name, shape_of(name), CLASSES)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(name, n=3):
    return torch.randn(n, *shape_of(name), generator=generator(1))


@every
def test_flat_equals_the_module(name):
    network = build(name)
    with torch.random.fork_rng(devices=[]):
        module = network.factory()
    params = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    assert network.parameter_count == len(params)
    assert network.shapes == tuple(tuple(parameter.shape) for parameter in module.parameters())
    assert torch.equal(network(params, images(name)), module(images(name)))


@every
def test_initial_weights_depend_on_the_generator_only(name):
    network = build(name)
    before = torch.get_rng_state()
    first, again, other = (network.initial(generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.isfinite().all()


@every
def test_is_a_pure_function(name):
    network = build(name)
    params, x = network.initial(generator()), images(name)
    copies = params.clone(), x.clone()
    logits = network(params, x)
    network(params * 2, x + 1)
    network.with_statistics(params, x + 1)
    assert logits.shape == (3, CLASSES)
    assert torch.equal(network(params, x), logits)
    assert torch.equal(params, copies[0])
    assert torch.equal(x, copies[1])


@every
def test_one_image_at_evaluation_does_not_depend_on_the_others(name):
    network = build(name)
    params, statistics = network.initial(generator()), network.initial_statistics()
    together = network(params, images(name), statistics)
    alone = network(params, images(name)[:1], statistics)
    torch.testing.assert_close(alone, together[:1], rtol=1e-4, atol=1e-5)


@every
def test_features_are_what_the_last_linear_layer_sees(name):
    network = build(name)
    params, statistics = network.initial(generator()), network.initial_statistics()
    *_, weight, bias = network.tensors(params)
    for given in (None, statistics):
        features = network.features(params, images(name), given)
        assert features.shape == (3, weight.shape[1])
        torch.testing.assert_close(F.linear(features, weight, bias), network(params, images(name), given))


@every
def test_several_at_once_are_those_one_by_one(name):
    network = build(name)
    params = torch.stack([network.initial(generator(seed)) for seed in (0, 1)]).double()
    x = images(name, 2).double()

    def loss(params):
        return F.cross_entropy(network(params, x), torch.arange(2))

    one_by_one = torch.stack([grad(loss)(p) for p in params])
    torch.testing.assert_close(vmap(grad(loss))(params), one_by_one, rtol=1e-6, atol=1e-8)


@every
def test_second_derivatives_are_symmetric(name):
    """⟨u, Hv⟩ = ⟨v, Hu⟩ for the Hessian by parameters and images, in float64: wrong second derivatives are not."""
    network = build(name)
    point = network.initial(generator()).double(), images(name, 2).double()
    draws = generator(2)
    u, v = ([torch.randn(x.shape, generator=draws, dtype=x.dtype) for x in point] for _ in range(2))

    def loss(params, x):
        return F.cross_entropy(network(params, x), torch.arange(2))

    _, pull = vjp(grad(loss, (0, 1)), *point)
    one, other = (sum((a * b).sum() for a, b in zip(w, pull(tuple(z)), strict=True)) for w, z in ((u, v), (v, u)))
    assert one != 0
    torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-12)


@every
def test_gradient_is_that_of_finite_differences(name):
    network = build(name)
    params, x = network.initial(generator()).double(), images(name, 2).double()
    direction = torch.randn(params.shape, generator=generator(2), dtype=params.dtype)

    def loss(params):
        return F.cross_entropy(network(params, x), torch.arange(2))

    direction /= direction.norm()
    step = 1e-8  # a deep network with ReLUs bends within 1e-6
    numerical = (loss(params + step * direction) - loss(params - step * direction)) / (2 * step)
    torch.testing.assert_close(grad(loss)(params) @ direction, numerical, rtol=1e-3, atol=1e-7)


@every
def test_gradient_reaches_parameters_in_their_dtype(name):
    network = build(name)
    params = network.initial(generator()).double()

    def loss(params):
        return F.cross_entropy(network(params, images(name).double()), torch.arange(3))

    gradient = grad(loss)(params)
    assert gradient.dtype == torch.float64
    assert gradient.isfinite().all()
    assert gradient.any()


@every
def test_name_is_canonical_and_the_network_pickles(name):
    network = build(name)
    assert canonical_name(network.name) == network.name
    assert pickle.loads(pickle.dumps(network)).shapes == network.shapes


@pytest.mark.gpu
@every
def test_runs_where_its_parameters_are(name):
    network = build(name)
    params, x = network.initial(generator()).double(), images(name).double()
    on_gpu = network(params.cuda(), x.cuda())
    torch.testing.assert_close(on_gpu.cpu(), network(params, x), rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch of itself
@pytest.mark.parametrize("name", [next(iter(family.members)) for family in NETWORKS.values()])
def test_a_training_step_compiles_into_one_graph(name, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # dynamo cannot trace the checks
    torch._dynamo.reset()
    network = build(name)
    params, x = network.initial(generator()), images(name, 2)

    def step(params, x):
        def loss(params):
            logits, statistics = network.with_statistics(params, x)
            return F.cross_entropy(logits, torch.arange(2)), statistics

        return grad(loss, has_aux=True)(params)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for ours, eager in zip(compiled(params, x), step(params, x), strict=True):
        torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-6)
