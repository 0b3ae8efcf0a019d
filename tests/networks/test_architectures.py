"""The networks of the literature: parameter counts, layers, and which images they take."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datadistill.core.errors import UsageError
from datadistill.networks import MLP, ConvNet, ConvNetOptions, LayerNorm, LeNet, build_network


@pytest.mark.parametrize(
    ("name", "shape", "classes", "count"),
    [
        ("convnet-3", (3, 32, 32), 10, 320_010),
        ("convnet-3", (3, 32, 32), 100, 504_420),
        ("convnet-3", (1, 28, 28), 10, 317_706),
        ("convnet-4", (3, 64, 64), 200, 857_160),
        ("convnet-5", (3, 128, 128), 10, 615_690),
        ("convnet-6", (3, 256, 256), 10, 763_530),
        ("convnet-3-batchnorm", (3, 32, 32), 10, 320_010),
        ("lenet", (1, 28, 28), 10, 61_706),
        ("lenet", (1, 32, 32), 10, 61_706),
        ("mlp", (1, 28, 28), 10, 118_282),
        ("mlp", (3, 32, 32), 10, 411_146),
    ],
)
def test_parameter_counts(name, shape, classes, count):
    assert build_network(name, shape, classes).parameter_count == count


def test_convnet_is_the_published_sequence_of_layers():
    network = build_network("convnet-2-w6", (3, 8, 8), 4)
    params = network.initial(torch.Generator().manual_seed(0))
    images = torch.linspace(-1, 1, 2 * 3 * 64).view(2, 3, 8, 8)
    tensors, maps = network.tensors(params), images
    for block in range(2):
        weight, bias, scale, shift = tensors[4 * block : 4 * block + 4]
        maps = F.conv2d(maps, weight, bias, padding=1)
        maps = F.instance_norm(maps, weight=scale, bias=shift)
        maps = F.avg_pool2d(F.relu(maps), 2)
    expected = F.linear(maps.flatten(1), *tensors[8:])
    torch.testing.assert_close(network(params, images), expected)


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        (ConvNetOptions(depth=1, norm="layer"), [nn.Conv2d, LayerNorm, nn.ReLU, nn.AvgPool2d]),
        (ConvNetOptions(depth=1, norm="group"), [nn.Conv2d, nn.GroupNorm, nn.ReLU, nn.AvgPool2d]),
        (ConvNetOptions(depth=1, pooling="max"), [nn.Conv2d, nn.GroupNorm, nn.ReLU, nn.MaxPool2d]),
        (ConvNetOptions(depth=1, norm="none", activation="sigmoid"), [nn.Conv2d, nn.Sigmoid, nn.AvgPool2d]),
        (ConvNetOptions(depth=1, activation="leakyrelu"), [nn.Conv2d, nn.GroupNorm, nn.LeakyReLU, nn.AvgPool2d]),
        (ConvNetOptions(depth=1, pooling="none"), [nn.Conv2d, nn.GroupNorm, nn.ReLU]),
    ],
)
def test_convnet_options_choose_the_layers(options, layers):
    with torch.device("meta"):
        net = ConvNet(options, (3, 16, 16), 10)
    assert [type(layer) for layer in net.blocks] == layers


@pytest.mark.parametrize("make", [lambda *a: ConvNet(ConvNetOptions(width=8), *a), MLP, LeNet])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 28), (3, 32, 24), (2, 17, 16)])
def test_classifier_sees_the_features(make, shape, global_generators):
    module = make(shape, 5)
    images = torch.randn(2, *shape)
    features = module.features(images)
    assert features.shape == (2, module.classifier.in_features)
    assert torch.equal(module(images), module.classifier(features))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("convnet-4", (3, 8, 8), "8 x 8 pixels are too small for a ConvNet of 4 blocks"),
        ("lenet", (1, 15, 20), "15 x 20 pixels are too small for LeNet"),
        ("convnet-3-w6-groupnorm", (3, 8, 8), "divisible by 4"),
        ("convnet-9", (3, 32, 32), "1 to 8 blocks, got 9"),
        ("convnet-0", (3, 32, 32), "1 to 8 blocks, got 0"),
        ("convnet-3-w0", (3, 32, 32), "at least 1, got 0"),
    ],
)
def test_impossible_networks_are_refused_in_one_line(name, shape, message):
    with pytest.raises(UsageError, match=message) as error:
        build_network(name, shape, 10)
    assert "\n" not in str(error.value)
