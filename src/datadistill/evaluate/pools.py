"""Several evaluation networks by one name: how well a set carries over to other architectures."""

import re

from datadistill.core.errors import UnknownNameError, nearest
from datadistill.networks import canonical_name

POOLS: dict[str, tuple[str, ...]] = {
    "cross-architecture": ("{own}", "alexnet", "vgg-11", "resnet-18"),
    "cross-architecture-mtt": ("{own}", "alexnet", "vgg-11", "resnet-18-avgpool", "resnet-18"),
    "widths": ("convnet-{depth}-w32", "convnet-{depth}-w64", "convnet-{depth}-w128", "convnet-{depth}-w256"),
    "depths": ("convnet-1", "convnet-2", "convnet-3", "convnet-4"),
    "activations": ("convnet-{depth}-sigmoid", "convnet-{depth}-relu", "convnet-{depth}-leakyrelu"),
    "poolings": ("convnet-{depth}-nopool", "convnet-{depth}-maxpool", "convnet-{depth}-avgpool"),
    "normalisations": (
        "convnet-{depth}-nonorm",
        "convnet-{depth}-batchnorm",
        "convnet-{depth}-layernorm",
        "convnet-{depth}-instancenorm",
        "convnet-{depth}-groupnorm",
    ),
    "with-convnet": ("{own}", "convnet-{depth}"),
}
"""The pools of DC, MTT and ATT; ``own`` is the network of the run, ``depth`` its depth, 3 where it is no ConvNet."""


def at(protocol: str, network: str) -> str:
    """Return the name of a protocol with another evaluation network: ``default@vgg-11``."""
    return f"{protocol}@{network}"


def parted(name: str) -> tuple[str, str | None]:
    """Return protocol and evaluation network of a name; ``None`` for the network that the protocol has."""
    protocol, found, network = name.partition("@")
    return protocol, network if found else None


def expand(names: tuple[str, ...], own: str, evaluated: str | None = None) -> tuple[str, ...]:
    """Return protocol names with every pool replaced by its networks, spelled as they are stored.

    Args:
        names: ``default``, ``default@vgg11``, ``default@cross-architecture``.
        own: The network of the run.
        evaluated: The evaluation network of protocols without an ``@``; absent for that of the run.

    Raises:
        UnknownNameError: If there is neither such a network nor such a pool.
    """
    found: list[str] = []
    for name in names:
        protocol, network = parted(name)
        if network is None:
            found.append(name)
            continue
        members = _members(network, canonical_name(own)) if network in POOLS else (_canonical(network),)
        done = {canonical_name(evaluated or own)} if network in POOLS and protocol in names else set()
        found += [at(protocol, member) for member in members if member not in done]
    return tuple(dict.fromkeys(found))


def _members(pool: str, own: str) -> tuple[str, ...]:
    depth = match[1] if (match := re.match(r"convnet-(\d)", own)) else "3"
    return tuple(canonical_name(member.format(own=own, depth=depth)) for member in POOLS[pool])


def _canonical(network: str) -> str:
    try:
        return canonical_name(network)
    except UnknownNameError as error:
        if "did you mean" in (pool := nearest(network, POOLS)):
            raise UnknownNameError(f"unknown network or pool '{network}'{pool}") from error
        raise
