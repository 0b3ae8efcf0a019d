"""Initial weights by name: the distribution, zero biases, norms as they are, one spelling each."""

import math
import pickle

import pytest
import torch

from datadistill.core.errors import UnknownNameError, UsageError
from datadistill.networks import INITIAL_WEIGHTS, build_network, canonical_name

SHAPE, CLASSES = (3, 16, 16), 4


def tensors(name):
    network = build_network(name, SHAPE, CLASSES)
    return network.tensors(network.initial(torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("lenet+default", "lenet"),
        ("LeNet+Xavier", "lenet+xavier"),
        ("lenet+xavier:1", "lenet+xavier"),
        ("lenet+xavier:1.0", "lenet+xavier"),
        ("lenet+xavier:0.50", "lenet+xavier:0.5"),
        ("lenet+xavier_unif", "lenet+xavier-uniform"),
        ("lenet+kaiming_out:0", "lenet+kaiming-out"),
        ("ConvNetD4BN+orthogonal", "convnet-4-batchnorm+orthogonal"),
        ("mlp+normal:1e-3", "mlp+normal:0.001"),
        ("mlp+zero-bias", "mlp+zero-bias"),
    ],
)
def test_canonical_names(name, canonical):
    assert canonical_name(name) == canonical_name(canonical) == canonical
    assert build_network(name, SHAPE, CLASSES).name == canonical


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("lenet+", UnknownNameError, "unknown initial weights ''; valid: default, kaiming"),
        ("lenet+default:1", UnknownNameError, "unknown initial weights 'default:1'"),
        ("lenet+xavier:big", UsageError, "gain must be a number of at least 0, got 'big'"),
        ("lenet+normal:-1", UsageError, "std must be a number of at least 0, got '-1'"),
        ("lenet+kaiming:inf", UsageError, "slope must be a number"),
        ("lenet+zero-bias:1", UsageError, "'zero-bias' takes no number"),
    ],
)
def test_what_is_no_distribution_is_refused(name, kind, message):
    with pytest.raises(kind, match=message):
        canonical_name(name)


@pytest.mark.parametrize("word", INITIAL_WEIGHTS)
def test_biases_are_zero_norms_are_one_and_weights_are_drawn(word):
    weight, bias, scale, shift, *_ = tensors(f"convnet-2-w16+{word}")
    assert not bias.any()
    assert torch.equal(scale, torch.ones(16))
    assert not shift.any()
    assert weight.std() > 0
    assert torch.equal(weight, tensors(f"convnet-2-w16+{word}")[0])
    network = build_network(f"mlp+{word}", SHAPE, CLASSES)
    assert pickle.loads(pickle.dumps(network)).shapes == network.shapes


@pytest.mark.parametrize(
    ("word", "std"),
    [
        ("xavier", math.sqrt(2 / (768 + 128))),
        ("xavier:2", 2 * math.sqrt(2 / (768 + 128))),
        ("xavier-uniform", math.sqrt(2 / (768 + 128))),
        ("kaiming", math.sqrt(2 / 768)),
        ("kaiming:1", math.sqrt(1 / 768)),  # what Dataset Distillation draws: its --init_param is 1
        ("kaiming-out", math.sqrt(2 / 128)),
        ("orthogonal", math.sqrt(1 / 768)),
        ("normal", 0.02),
        ("normal:0.1", 0.1),
    ],
)
def test_weights_have_the_width_of_their_distribution(word, std):
    assert tensors(f"mlp+{word}")[0].std().item() == pytest.approx(std, rel=0.02)


def test_orthogonal_rows_are_orthogonal():
    weight = tensors("mlp+orthogonal")[0].double()
    torch.testing.assert_close(weight @ weight.T, torch.eye(128, dtype=torch.float64), rtol=0, atol=1e-5)


def test_zero_bias_leaves_the_weights_as_torch_draws_them():
    plain, without = tensors("mlp"), tensors("mlp+zero-bias")
    assert torch.equal(plain[0], without[0])
    assert plain[1].any()
