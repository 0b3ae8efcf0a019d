"""Flat networks: equal to their module, pure, and right under every transform the engine uses."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jaxtyping
import pytest
import torch
from torch import nn
from torch.func import grad, vjp, vmap
from torch.nn import functional as F

from datadistill.core.errors import UsageError
from datadistill.core.randomness import Randomness
from datadistill.networks import BatchNorm, FlatNetwork, build_network

NORMS = ["instance", "batch", "layer", "group", "no"]
SHAPE, CLASSES = (2, 8, 8), 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(norm):
    """Smooth, so that float64 comparisons do not stumble over the kinks of ReLU."""
    return build_network(f"convnet-2-w8-{norm}norm-swish", SHAPE, CLASSES)


def problem(network, n=5, dtype=torch.float64):
    params = network.initial(generator()).to(dtype)
    images = torch.randn(n, *SHAPE, generator=generator(1), dtype=dtype)
    return params, images, torch.arange(n) % CLASSES


def loss(network, params, images, labels):
    return F.cross_entropy(network(params, images), labels)


class TestModule:
    def build(self):
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))

    def test_initial_weights_and_logits_are_the_modules(self, global_generators):
        network = FlatNetwork(self.build, name="test")
        seed = int(torch.randint(2**63 - 1, (), generator=generator()))
        torch.manual_seed(seed)
        module = self.build()
        params = network.initial(generator())
        assert torch.equal(params, torch.cat([p.flatten() for p in module.parameters()]))
        images = torch.randn(4, *SHAPE)
        assert torch.equal(network(params, images), module(images))

    def test_a_shared_parameter_stands_once_in_the_vector(self):
        def build():
            first, second = nn.Linear(4, 4), nn.Linear(4, 4)
            second.weight = first.weight
            return nn.Sequential(nn.Flatten(), first, second)

        network = FlatNetwork(build, name="tied")
        assert network.shapes == ((4, 4), (4,), (4,))
        params, images = network.initial(generator()).double(), torch.ones(1, 1, 2, 2, dtype=torch.float64)
        weight, *biases = network.tensors(params)
        expected = (images.flatten(1) @ weight.T + biases[0]) @ weight.T + biases[1]
        torch.testing.assert_close(network(params, images), expected)

    def test_the_module_is_left_empty_even_after_an_error(self):
        network = tiny("batch")
        params, images, _ = problem(network)
        for arguments in ((params, images), (params, images[:, :1]), (params, images, params[:32])):
            try:
                network(*arguments)
            except RuntimeError:
                assert arguments[1].shape[1] == 1
            layers = list(network._module.modules())
            assert not [value for layer in layers for value in vars(layer).values() if torch.is_tensor(value)]
            assert all(layer.given is layer.seen is None for layer in layers if isinstance(layer, BatchNorm))

    def test_wrong_length_of_a_vector(self):
        network = tiny("batch")
        params, images, _ = problem(network)
        with pytest.raises(RuntimeError, match="split"):
            network(params[1:], images)


class TestFeatures:
    def test_are_what_the_last_linear_layer_sees_with_either_statistics(self):
        network = tiny("batch")
        params, images, _ = problem(network)
        *_, weight, bias = network.tensors(params)
        for statistics in (None, network.initial_statistics().double() + 0.5):
            features = network.features(params, images, statistics)
            torch.testing.assert_close(F.linear(features, weight, bias), network(params, images, statistics))

    def test_can_be_differentiated_twice(self, global_generators):
        network = tiny("instance")
        params, images, _ = problem(network, n=2)
        tail = params[:20].clone().requires_grad_()
        assert torch.autograd.gradgradcheck(
            lambda tail: network.features(torch.cat([tail, params[20:]]), images).square().sum(), tail, fast_mode=True
        )

    def test_of_a_module_without_them_are_refused_in_one_line(self):
        class Upstream(nn.Module):
            """Its `features` are a layer, as in many code bases, and return maps."""

            def __init__(self):
                super().__init__()
                self.features = nn.Conv2d(2, 4, 3)

        for factory in (Upstream, lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 3))):
            network = FlatNetwork(factory, name="mine")
            params, images, _ = problem(network)
            with pytest.raises(UsageError, match=r"network 'mine' has no features: .* a method features\(images\)"):
                network.features(params, images)


class TestInitial:
    def test_depends_on_the_generator_only(self):
        network = tiny("instance")
        before = torch.get_rng_state()
        first, again, other = (network.initial(generator(seed)) for seed in (0, 0, 1))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert first.dtype == torch.float32

    def test_a_factory_that_gives_one_module_again_and_again_is_refused(self, global_generators):
        network = FlatNetwork(partial(nn.Sequential, nn.Flatten(), nn.Linear(4, 3)), name="mine")
        with pytest.raises(UsageError, match="network 'mine': its factory must make a fresh module in every call"):
            network.initial(generator())

    def test_a_generator_gives_one_network_after_another(self):
        network, stream = tiny("instance"), generator()
        assert not torch.equal(network.initial(stream), network.initial(stream))

    def test_ignores_default_dtype_and_device(self):
        network = tiny("instance")
        expected = network.initial(generator())
        with torch.device("meta"):
            assert network.initial(generator()).device == torch.device("cpu")
            assert torch.equal(network.initial(generator()), expected)


@pytest.mark.parametrize("norm", NORMS)
class TestDerivatives:
    def test_gradcheck(self, norm):
        network = tiny(norm)
        params, images, labels = problem(network, n=2)
        start = params[-7:].clone().requires_grad_()
        assert torch.autograd.gradcheck(
            lambda tail, images: loss(network, torch.cat([params[:-7], tail]), images, labels),
            (start, images.requires_grad_()),
            fast_mode=True,
        )

    def test_double_backward_agrees_with_finite_differences(self, norm):
        """d/dx of ⟨∇_θ ℓ, v⟩, what every matching method needs."""
        network = tiny(norm)
        params, images, labels = problem(network)
        direction = torch.randn(params.shape, generator=generator(2), dtype=params.dtype)
        step = torch.randn(images.shape, generator=generator(3), dtype=images.dtype)

        def along(images):
            point = params.clone().requires_grad_()
            value = loss(network, point, images, labels)
            return torch.autograd.grad(value, point, create_graph=True)[0] @ direction

        (gradient,) = torch.autograd.grad(along(images.requires_grad_()), images)
        eps = 1e-5
        numerical = (along(images + eps * step) - along(images - eps * step)) / (2 * eps)
        torch.testing.assert_close((gradient * step).sum(), numerical, rtol=1e-6, atol=1e-9)

    def test_vmap_of_all_derivatives_equals_a_loop(self, norm):
        network = tiny(norm)
        _, images, labels = problem(network)
        params = torch.stack([network.initial(generator(seed)).double() for seed in range(3)])
        cotangents = torch.randn(params.shape, generator=generator(2), dtype=params.dtype)

        def adjoint(params, images, cotangent):
            value, pull = vjp(lambda p, x: grad(partial(loss, network))(p, x, labels), params, images)
            return value, *pull(cotangent)

        mapped = vmap(adjoint, in_dims=(0, None, 0))(params, images, cotangents)
        looped = [adjoint(p, images, c) for p, c in zip(params, cotangents, strict=True)]
        for all_at_once, one_by_one in zip(mapped, zip(*looped, strict=True), strict=True):
            torch.testing.assert_close(all_at_once, torch.stack(one_by_one), rtol=1e-10, atol=1e-12)

    def test_differentiating_through_vmap_of_grad_equals_a_loop(self, norm):
        """Where torch's own batch, layer and instance norm are silently wrong."""
        network = tiny(norm)
        _, images, labels = problem(network)
        params = torch.stack([network.initial(generator(seed)).double() for seed in range(3)])
        cotangents = torch.randn(params.shape, generator=generator(2), dtype=params.dtype)
        images.requires_grad_()
        one = grad(partial(loss, network))
        mapped = vmap(one, in_dims=(0, None, None))(params, images, labels)
        looped = torch.stack([one(p, images, labels) for p in params])
        (through_vmap,) = torch.autograd.grad((mapped * cotangents).sum(), images)
        (through_loop,) = torch.autograd.grad((looped * cotangents).sum(), images)
        torch.testing.assert_close(through_vmap, through_loop, rtol=1e-9, atol=1e-12)

    def test_survives_pickling(self, norm):
        network = tiny(norm)
        params, images, _ = problem(network)
        expected = network(params, images)
        copy = pickle.loads(pickle.dumps(network))
        assert copy.name == network.name
        assert torch.equal(copy(params, images), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "backend"), [*((norm, "aot_eager") for norm in NORMS), ("batch", "inductor")])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch of itself
def test_the_whole_step_compiles_into_one_graph(norm, backend, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # dynamo cannot trace the checks
    torch._dynamo.reset()
    network = tiny(norm)
    params, images, labels = problem(network)
    cotangent = torch.randn(params.shape, generator=generator(2), dtype=params.dtype)

    def adjoint(params, images, cotangent):
        def value(p, x):
            return grad(lambda q: loss(network, q, x, labels))(p)

        gradient, pull = vjp(value, params, images)
        return gradient, *pull(cotangent), *network.with_statistics(params, images)

    compiled = torch.compile(adjoint, fullgraph=True, backend=backend)
    pairs = zip(compiled(params, images, cotangent), adjoint(params, images, cotangent), strict=True)
    for ours, eager in pairs:
        torch.testing.assert_close(ours, eager, rtol=1e-9, atol=1e-11)


class TestStatistics:
    def torch_module(self):
        return nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4, momentum=1.0),
            nn.ReLU(),
            nn.Conv2d(4, 5, 3),
            nn.BatchNorm2d(5, momentum=1.0),
            nn.Flatten(),
            nn.Linear(5 * 16, 3),
        )

    def ours(self):
        layers = [
            BatchNorm(layer.num_features) if isinstance(layer, nn.BatchNorm2d) else layer
            for layer in self.torch_module()
        ]
        return nn.Sequential(*layers)

    def test_are_torchs_running_statistics_at_momentum_one(self, global_generators):
        module, network = self.torch_module().double(), FlatNetwork(self.ours, name="test")
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
        params = torch.cat([p.detach().flatten() for p in module.parameters()])
        images, others = (torch.randn(4, *SHAPE, dtype=torch.float64) for _ in range(2))
        logits, statistics = network.with_statistics(params, images)
        torch.testing.assert_close(logits, module(images))
        norms = [layer for layer in module if isinstance(layer, nn.BatchNorm2d)]
        running = torch.cat([m for norm in norms for m in (norm.running_mean, norm.running_var)])
        torch.testing.assert_close(statistics, running)
        torch.testing.assert_close(network(params, others, statistics), module.eval()(others))
        assert network.statistics_count == 18

    def test_are_auxiliary_output_of_a_gradient(self):
        network = tiny("batch")
        params, images, labels = problem(network)

        def loss_and_statistics(params):
            logits, statistics = network.with_statistics(params, images)
            return F.cross_entropy(logits, labels), statistics

        gradient, statistics = grad(loss_and_statistics, has_aux=True)(params)
        torch.testing.assert_close(gradient, grad(partial(loss, network))(params, images, labels))
        assert torch.equal(statistics, network.with_statistics(params, images)[1])

    def test_initial_ones_change_nothing(self):
        network = tiny("batch")
        params, images, _ = problem(network)
        statistics = network.initial_statistics().double()
        assert statistics.shape == (network.statistics_count,) == (32,)
        mean, variance = network.initial_statistics().view(2, 2, 8).unbind(1)
        assert torch.equal(mean, torch.zeros(2, 8))
        assert torch.equal(variance, torch.ones(2, 8))
        plain = tiny("no")
        weights = [t for t, shape in zip(network.tensors(params), network.shapes, strict=True) if shape != (8,)]
        biases = [t for i, t in enumerate(network.tensors(params)) if i in (1, 5)]
        stripped = torch.cat([t.flatten() for t in (weights[0], biases[0], weights[1], biases[1], *weights[2:])])
        # eps = 1e-5 is all that is left of the two norms
        torch.testing.assert_close(network(params, images, statistics), plain(stripped, images), rtol=1e-4, atol=1e-4)

    def test_are_empty_without_batch_norm(self):
        network = tiny("instance")
        params, images, _ = problem(network)
        logits, statistics = network.with_statistics(params, images)
        assert statistics.shape == network.initial_statistics().shape == (0,)
        assert torch.equal(network(params, images, statistics), logits)


def test_networks_made_at_the_same_time_are_those_made_one_after_another():
    network = build_network("convnet-3-w32", (3, 32, 32), 10)

    def weights(number):
        return network.twin().initial(Randomness(number).stream("initial weights"))

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(weights, range(24)))
    assert all(torch.equal(found, weights(number)) for number, found in enumerate(together))
