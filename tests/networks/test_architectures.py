"""The networks of the literature: parameter counts, layers, and which images they take."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datadistill.core.errors import UsageError
from datadistill.networks import NETWORKS, ConvNet, ConvNetOptions, LayerNorm, build_network, canonical_name


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
        ("convnet-3-gap", (3, 32, 32), 10, 300_810),
        ("alexcifarnet", (3, 32, 32), 10, 1_756_426),
        ("alexnet-imagenet", (3, 224, 224), 20, 57_085_780),
        ("alexnet-imagenet", (1, 96, 64), 20, 57_085_780 - 2 * 64 * 121),
        ("alexnet", (3, 32, 32), 10, 1_872_202),
        ("alexnet", (1, 28, 28), 10, 1_872_202 - 2 * 128 * 25),
        ("alexnet-batchnorm", (3, 32, 32), 10, 1_874_122),
        ("vgg-11", (3, 32, 32), 10, 9_231_114),
        ("vgg-11-batchnorm", (3, 32, 32), 10, 9_231_114),
        ("vgg-11-nonorm", (3, 32, 32), 10, 9_225_610),
        ("vgg-11", (1, 28, 28), 10, 9_231_114 - 2 * 64 * 9),
        ("vgg-11", (3, 64, 64), 200, 9_231_114 - 5_130 + 2_049 * 200),
        ("vgg-13", (3, 32, 32), 10, 9_416_010),
        ("vgg-16", (3, 32, 32), 10, 14_728_266),
        ("vgg-19", (3, 32, 32), 10, 20_040_522),
        ("resnet-18", (3, 32, 32), 10, 11_173_962),
        ("resnet-18-batchnorm", (3, 32, 32), 10, 11_173_962),
        ("resnet-18", (1, 28, 28), 10, 11_173_962 - 2 * 64 * 9),
        ("resnet-18", (3, 64, 64), 200, 11_173_962 - 5_130 + 2_049 * 200),
        ("resnet-18-avgpool", (3, 32, 32), 10, 11_173_962 - 5_130 + (512 * 16 + 1) * 10),
        ("resnet-18-avgpool", (1, 28, 28), 10, 11_173_962 - 2 * 64 * 9 - 5_130 + (512 * 9 + 1) * 10),
        ("resnet-18-imagenet", (3, 128, 128), 10, 11_181_642),
        ("resnet-34", (3, 32, 32), 10, 21_282_122),
        ("resnet-50", (3, 32, 32), 10, 23_520_842),
        ("resnet-101", (3, 32, 32), 10, 42_512_970),
        ("resnet-152", (3, 32, 32), 10, 58_156_618),
        ("vit-apm", (3, 32, 32), 10, 3_221_514),
        ("vit-tiny", (3, 32, 32), 10, 5_362_762),
        ("vit-tiny-p16", (3, 224, 224), 1000, 5_717_416),
        ("convnext-nano-p4", (3, 224, 224), 1000, 15_593_560),
    ],
)
def test_parameter_counts(name, shape, classes, count):
    assert build_network(name, shape, classes).parameter_count == count


MEMBERS = [(name, member) for family in NETWORKS.values() for name, member in family.members.items()]


@pytest.mark.parametrize(("name", "member"), MEMBERS, ids=[name for name, _ in MEMBERS])
def test_the_smallest_image_of_every_network_is_what_the_list_says(name, member):
    assert canonical_name(name) == name
    assert [canonical_name(alias) for alias in member.upstream.split(", ") if alias] in ([name], [name, name], [])
    side = member.smallest
    network = build_network(name, (3, side, side), 4)
    params = torch.empty(network.parameter_count, device="meta")
    assert network(params, torch.empty(2, 3, side, side, device="meta")).shape == (2, 4)
    if side > 1:
        with pytest.raises(UsageError, match=f"images of {side - 1} x {side - 1} pixels"):
            build_network(name, (3, side - 1, side - 1), 4)


def test_the_documentation_lists_every_network_with_its_parameters():
    rows = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8").splitlines()
    for name, member in MEMBERS:
        side = max(32, member.smallest)
        count = build_network(name, (3, side, side), 10).parameter_count
        found = [row for row in rows if row.startswith(f"| `{name}` ") and f" {count:,} " in row]
        assert len(found) == 1
        assert all(alias in found[0] for alias in member.upstream.split(", "))


@pytest.mark.parametrize("name", ["resnet-6-batchnorm", "resnet-6-avgpool", "resnet-6-imagenet"])
def test_a_residual_block_is_the_published_sequence_of_layers(name):
    """The third block, which halves the maps and has a projection in its shortcut."""
    network = build_network(name, (3, 48, 48), 4)
    with torch.random.fork_rng(devices=[]):
        module = network.factory()
    block = next(layer for layer in module.body if getattr(layer, "shape", (0,))[0] == 128)
    maps = torch.randn(2, 64, 12, 12, generator=torch.Generator().manual_seed(0))
    tensors = list(block.parameters())
    stride = 1 if "avgpool" in name else 2

    def norm(maps, weight, bias):
        if "batchnorm" in name:
            return F.batch_norm(maps, None, None, weight, bias, training=True)
        return F.instance_norm(maps, weight=weight, bias=bias)

    def halved(maps):
        return F.avg_pool2d(maps, 2) if stride == 1 else maps

    first = halved(F.relu(norm(F.conv2d(maps, tensors[0], stride=stride, padding=1), *tensors[1:3])))
    second = norm(F.conv2d(first, tensors[3], padding=1), *tensors[4:6])
    shortcut = norm(halved(F.conv2d(maps, tensors[6], stride=stride)), *tensors[7:])
    torch.testing.assert_close(block(maps), F.relu(second + shortcut))


def test_alexcifarnet_is_the_published_sequence_of_layers():
    network = build_network("alexcifarnet", (3, 16, 16), 4)
    params = network.initial(torch.Generator().manual_seed(0))
    images = torch.linspace(-1, 1, 2 * 3 * 256).view(2, 3, 16, 16)
    w = network.tensors(params)
    maps = F.max_pool2d(F.relu(F.conv2d(images, w[0], w[1], padding=2)), 3, 2, 1)
    maps = F.relu(F.conv2d(F.local_response_norm(maps, 4, 0.001 / 9, 0.75, 1), w[2], w[3], padding=2))
    maps = F.max_pool2d(F.local_response_norm(maps, 4, 0.001 / 9, 0.75, 1), 3, 2, 1).flatten(1)
    hidden = F.relu(F.linear(F.relu(F.linear(maps, w[4], w[5])), w[6], w[7]))
    torch.testing.assert_close(network(params, images), F.linear(hidden, w[8], w[9]))


def test_attention_is_torchs():
    network = build_network("vit-tiny", (3, 8, 8), 4)
    with torch.random.fork_rng(devices=[]):
        module = network.factory().double()
    block, width, heads = module.body.blocks[0], 192, 3
    tokens = torch.randn(2, 5, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = block.norm(tokens).transpose(0, 1)
    out, _ = F.multi_head_attention_forward(
        given, given, given, width, heads, block.qkv.weight, block.qkv.bias, None, None, False, 0.0,
        block.out.weight, block.out.bias,
    )  # fmt: skip
    attended = tokens + out.transpose(0, 1)
    torch.testing.assert_close(block(tokens), attended + block.mlp(attended))


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
    assert [type(layer) for layer in net.body] == layers


@pytest.mark.parametrize(
    "name", ["convnet-3-w8", "convnet-2-w8-gap", "mlp", "lenet", "alexcifarnet", "alexnet", "resnet-6", "convnext-nano"]
)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 28), (3, 32, 24), (2, 17, 16)])
def test_images_need_not_be_square(name, shape):
    network = build_network(name, shape, 5)
    params = torch.empty(network.parameter_count, device="meta")
    assert network(params, torch.empty(2, *shape, device="meta")).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("convnet-4", (3, 8, 8), "8 x 8 pixels are too small for a ConvNet of 4 blocks"),
        ("lenet", (1, 15, 20), "15 x 20 pixels are too small for LeNet"),
        ("convnet-3-w6-groupnorm", (3, 8, 8), "divisible by 4"),
        ("convnet-9", (3, 32, 32), "1 to 8 blocks, got 9"),
        ("convnet-0", (3, 32, 32), "1 to 8 blocks, got 0"),
        ("convnet-3-w0", (3, 32, 32), "at least 1, got 0"),
        ("vgg-12", (3, 32, 32), "VGG has 11, 13, 16, 19 layers, got 12"),
        ("resnet-20", (3, 32, 32), "ResNet has 6, 18, 34, 50, 101, 152 layers, got 20"),
        ("resnet-18", (3, 8, 8), "last maps would be of 1 x 1 pixels, and need 2 x 2"),
        ("alexnet-imagenet-batchnorm", (3, 224, 224), "alexnet-imagenet has no norm"),
        ("vit-tiny", (3, 30, 32), "30 x 32 pixels cannot be cut into patches of 4 x 4"),
        ("vit-tiny-p0", (3, 32, 32), "at least 1 pixel"),
    ],
)
def test_impossible_networks_are_refused_in_one_line(name, shape, message):
    with pytest.raises(UsageError, match=message) as error:
        build_network(name, shape, 10)
    assert "\n" not in str(error.value)
