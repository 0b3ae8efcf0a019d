"""Networks by name: strings everywhere, one canonical spelling each.

A name is a family and options in any order, separated by hyphens; what is left out has its default::

    convnet-3                    = convnet, ConvNet, ConvNetD3, convnet-3-w128-instancenorm-relu-avgpool
    convnet-4-w64-batchnorm      depth 1..8, width, norm, activation, pooling, head
    resnet-18-avgpool            = ResNet18_AP
    lenet+xavier                 initial weights drawn anew
    my_pkg.nets:make             a factory of one's own
    torchvision:resnet18         a model of another library

The spellings of DC, MTT and APM (``ConvNetD4``, ``VGG11BN``, ``ResNet18_AP``, …) are understood; those of ConvNets
may be combined (``ConvNetD4BN``).
"""

import re
from functools import partial

import torch

from datadistill.core.errors import UnknownNameError, UsageError, nearest
from datadistill.networks.families import NETWORKS
from datadistill.networks.flat import FlatNetwork
from datadistill.networks.imported import read_imported
from datadistill.networks.initial_weights import Maker, read_initial
from datadistill.networks.layers import Shape

_CONVNET_TOKENS = {
    "KIP": ("w1024", "nonorm"),
    "GAP": ("gap",),
    "ASwish": ("swish",),
    "AS": ("sigmoid",),
    "AR": ("relu",),
    "AL": ("leakyrelu",),
    "NN": ("nonorm",),
    "BN": ("batchnorm",),
    "LN": ("layernorm",),
    "IN": ("instancenorm",),
    "GN": ("groupnorm",),
    "NP": ("nopool",),
    "MP": ("maxpool",),
    "AP": ("avgpool",),
}
_CONVNET_ALIAS = re.compile(rf"D\d+|W\d*|{'|'.join(_CONVNET_TOKENS)}")
_OTHER_ALIAS = re.compile(r"(AlexNet|VGG|ResNet)(\d*)(?:_?(BN))?(?:_?(AP|ImageNet))?", re.IGNORECASE)
_OTHER_TOKENS = {"bn": "batchnorm", "ap": "avgpool", "imagenet": "imagenet"}


def canonical_name(name: str) -> str:
    """Return the one spelling under which a network is stored: ``ConvNetD3`` → ``convnet-3``.

    Raises:
        UnknownNameError: If there is no such network; the message names the nearest.
        UsageError: If an option is out of range, or code of the user's own cannot be imported.
    """
    return _parse(name)[0]


def build_network(name: str, shape: Shape, classes: int) -> FlatNetwork:
    """Return the network of that name for images of ``shape`` = (channels, height, width).

    Args:
        name: Canonical or upstream's spelling, an import path, or a model of another library.
        shape: (channels, height, width) of an image.
        classes: Number of logits.

    Raises:
        UnknownNameError: If there is no such network; the message names the nearest.
        UsageError: If an option is out of range, the images are too small for the network, or one from elsewhere
            fails on them.
    """
    canonical, make = _parse(name)
    network = FlatNetwork(partial(make, shape, classes), name=canonical)
    if ":" in name.partition("+")[0]:
        _try(network, shape, classes)
    return network


def _try(network: FlatNetwork, shape: Shape, classes: int) -> None:
    """Run a network of unknown origin twice.

    Raises:
        UsageError: If it fails, does not return logits, or is not a function of its inputs.
    """
    if not network.parameter_count:
        raise UsageError(f"network '{network.name}': has no parameters")
    generator = torch.Generator().manual_seed(0)
    params, images = network.initial(generator), torch.randn(2, *shape, generator=generator)
    given = images.clone()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            first, second = network(params, images), network(params, images)
    except Exception as error:
        line = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"network '{network.name}': fails on images of {shape}: {line}") from error
    if not isinstance(first, torch.Tensor) or first.shape != (2, classes):
        got = tuple(first.shape) if isinstance(first, torch.Tensor) else type(first).__name__
        raise UsageError(f"network '{network.name}': returns {got} for 2 images, not logits of shape (2, {classes})")
    if not torch.equal(images, given):
        raise UsageError(
            f"network '{network.name}': changes the images it is given; let its first layer not work in place"
        )
    if not torch.allclose(first, second, rtol=0, atol=0, equal_nan=True):
        raise UsageError(
            f"network '{network.name}': gives other logits the second time; it must not draw random numbers"
        )


def _parse(name: str) -> tuple[str, Maker]:
    base, plus, suffix = name.partition("+")
    canonical, make = read_imported(base) if ":" in base else _registered(base)
    if not plus:
        return canonical, make
    start, drawn = read_initial(name, suffix)
    return canonical + start, drawn(make)


def _registered(name: str) -> tuple[str, Maker]:
    family, *tokens = _upstream_tokens(name) or name.lower().split("-")
    if family not in NETWORKS:
        members = [member for entry in NETWORKS.values() for member in entry.members.items()]
        known = [ours for ours, _ in members]
        known += [
            alias for _, member in members for alias in member.upstream.split(", ") if alias[:4] not in ("", "Conv")
        ]
        raise UnknownNameError(f"unknown network '{name}'{nearest(name, [*known, *NETWORKS], listed=NETWORKS)}")
    entry = NETWORKS[family]
    options = entry.grammar.read(name, tokens)
    return entry.grammar.spell(family, options), partial(entry.build, options)


def _upstream_tokens(name: str) -> list[str]:
    """Return our words for a name of another code base; none if it is no such name."""
    if name.startswith("ConvNet") and "-" not in name:
        return ["convnet", *_convnet_tokens(name)]
    found = _OTHER_ALIAS.fullmatch(name)
    if found is None:
        return []
    family, depth, *rest = found.groups()
    return [family.lower(), *([depth] if depth else []), *(_OTHER_TOKENS[word.lower()] for word in rest if word)]


def _convnet_tokens(name: str) -> list[str]:
    rest, tokens = name.removeprefix("ConvNet"), list[str]()
    while rest:
        alias = _CONVNET_ALIAS.match(rest)
        if alias is None:
            choices = [f"ConvNet{alias}" for alias in ("D3", "W128", *_CONVNET_TOKENS)]
            raise UnknownNameError(f"unknown network '{name}'{nearest(name, choices)}")
        text = alias.group()
        if text in _CONVNET_TOKENS:
            tokens += _CONVNET_TOKENS[text]
        else:
            tokens.append(text[1:] if text.startswith("D") else f"w{text[1:] or 512}")  # 512: APM's plain ConvNetW
        rest = rest[alias.end() :]
    return tokens
