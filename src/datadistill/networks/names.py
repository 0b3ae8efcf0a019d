"""Networks by name: strings everywhere, one canonical spelling each.

A name is a family and options in any order, separated by hyphens; what is left out has its default::

    convnet-3                    = convnet, ConvNet, ConvNetD3, convnet-3-w128-instancenorm-relu-avgpool
    convnet-4-w64-batchnorm      depth 1..8, width, norm, activation, pooling
    mlp · lenet

The spellings of DC, MTT and APM (``ConvNetD4``, ``ConvNetW64``, ``ConvNetAS``, ``ConvNetBN``, …) are
understood and may be combined (``ConvNetD4BN``).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from datadistill.core.errors import UnknownNameError, nearest
from datadistill.networks.convnet import MAX_DEPTH, ConvNet, ConvNetOptions
from datadistill.networks.flat import FlatNetwork
from datadistill.networks.lenet import LeNet
from datadistill.networks.mlp import MLP

Shape = tuple[int, int, int]
Maker = Callable[[Shape, int], nn.Module]

_WORDS: dict[str, dict[str, Any]] = {
    **{f"{norm}norm": {"norm": norm} for norm in ("instance", "batch", "layer", "group")},
    **{f"{pooling}pool": {"pooling": pooling} for pooling in ("avg", "max")},
    **{activation: {"activation": activation} for activation in ("relu", "sigmoid", "leakyrelu", "swish")},
    "nonorm": {"norm": "none"},
    "nopool": {"pooling": "none"},
}
_ALIASES: dict[str, dict[str, Any]] = {
    "KIP": {"width": 1024, "norm": "none"},
    "ASwish": {"activation": "swish"},
    "AS": {"activation": "sigmoid"},
    "AR": {"activation": "relu"},
    "AL": {"activation": "leakyrelu"},
    "NN": {"norm": "none"},
    "BN": {"norm": "batch"},
    "LN": {"norm": "layer"},
    "IN": {"norm": "instance"},
    "GN": {"norm": "group"},
    "NP": {"pooling": "none"},
    "MP": {"pooling": "max"},
    "AP": {"pooling": "avg"},
}
_ALIAS = re.compile(rf"D\d+|W\d*|{'|'.join(_ALIASES)}")


@dataclass(frozen=True)
class NetworkFamily:
    """One line of the list of networks.

    Attributes:
        summary: What it is, in half a line.
        options: The tokens that may follow the family's name, for people.
        parse: Makes the canonical name and the module's maker from the name and its tokens.
    """

    summary: str
    options: str
    parse: Callable[[str, list[str]], tuple[str, Maker]]


def canonical_name(name: str) -> str:
    """Return the one spelling under which a network is stored: ``ConvNetD3`` → ``convnet-3``.

    Raises:
        UnknownNameError: If there is no such network; the message names the nearest.
        UsageError: If an option is out of range.
    """
    return _parse(name)[0]


def build_network(name: str, shape: Shape, classes: int) -> FlatNetwork:
    """Return the network of that name for images of ``shape`` = (channels, height, width).

    Args:
        name: Canonical or upstream's spelling.
        shape: (channels, height, width) of an image.
        classes: Number of logits.

    Raises:
        UnknownNameError: If there is no such network; the message names the nearest.
        UsageError: If an option is out of range, or the images are too small for the network.
    """
    canonical, make = _parse(name)
    return FlatNetwork(partial(make, shape, classes), name=canonical)


def _parse(name: str) -> tuple[str, Maker]:
    if name.startswith("ConvNet") and "-" not in name:
        return _named_convnet(_alias_options(name))
    family, *tokens = name.lower().split("-")
    if family not in NETWORKS:
        aliases = [f"ConvNetD{depth}" for depth in range(1, MAX_DEPTH + 1)]
        raise UnknownNameError(f"unknown network '{name}'{nearest(name, [*NETWORKS, *aliases])}")
    return NETWORKS[family].parse(name, tokens)


def _alias_options(name: str) -> dict[str, Any]:
    rest, options = name.removeprefix("ConvNet"), {}
    while rest:
        token = _ALIAS.match(rest)
        if token is None:
            choices = [f"ConvNet{alias}" for alias in ("D3", "W128", *_ALIASES)]
            raise UnknownNameError(f"unknown network '{name}'{nearest(name, choices)}")
        text = token.group()
        if text in _ALIASES:
            options.update(_ALIASES[text])
        elif text.startswith("D"):
            options["depth"] = int(text[1:])
        else:
            options["width"] = int(text[1:] or 512)  # APM's plain ConvNetW
        rest = rest[token.end() :]
    return options


def _parse_convnet(name: str, tokens: list[str]) -> tuple[str, Maker]:
    options: dict[str, Any] = {}
    for token in tokens:
        if token in _WORDS:
            options.update(_WORDS[token])
        elif token.isdecimal():
            options["depth"] = int(token)
        elif token[:1] == "w" and token[1:].isdecimal():
            options["width"] = int(token[1:])
        else:
            raise UnknownNameError(f"network '{name}': unknown option '{token}'{nearest(token, _WORDS)}")
    return _named_convnet(options)


def _named_convnet(values: dict[str, Any]) -> tuple[str, Maker]:
    options, default = ConvNetOptions(**values), ConvNetOptions()
    words = [f"convnet-{options.depth}"]
    if options.width != default.width:
        words.append(f"w{options.width}")
    for field in ("norm", "activation", "pooling"):
        value = getattr(options, field)
        if value != getattr(default, field):
            words.append(next(word for word, meaning in _WORDS.items() if meaning == {field: value}))
    return "-".join(words), partial(ConvNet, options)


def _parse_plain(module: Maker, canonical: str, name: str, tokens: list[str]) -> tuple[str, Maker]:
    if tokens:
        raise UnknownNameError(f"network '{name}': '{canonical}' takes no options")
    return canonical, module


NETWORKS: dict[str, NetworkFamily] = {
    "convnet": NetworkFamily(
        "blocks of 3x3 convolution, norm, activation, pooling; then one linear layer",
        f"1..{MAX_DEPTH}, w<channels>, {', '.join(_WORDS)}",
        _parse_convnet,
    ),
    "lenet": NetworkFamily(
        "two 5x5 convolutions and three linear layers, max pooling, no norm",
        "",
        partial(_parse_plain, LeNet, "lenet"),
    ),
    "mlp": NetworkFamily("two hidden layers of 128", "", partial(_parse_plain, MLP, "mlp")),
}
"""Every family, by the first word of its names."""
