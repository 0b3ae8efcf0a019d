"""Networks as pure functions of one flat parameter vector, and their names.

Here live the module definitions, the wrapper :class:`FlatNetwork`, and the table of names. Nothing here
knows of data sets, losses or training; no layer here holds state or draws random numbers while it computes.
"""

from datadistill.networks.convnet import ConvNet, ConvNetOptions
from datadistill.networks.flat import FlatNetwork
from datadistill.networks.layers import BatchNorm, LayerNorm
from datadistill.networks.lenet import LeNet
from datadistill.networks.mlp import MLP
from datadistill.networks.names import NETWORKS, NetworkFamily, build_network, canonical_name

__all__ = [
    "MLP",
    "NETWORKS",
    "BatchNorm",
    "ConvNet",
    "ConvNetOptions",
    "FlatNetwork",
    "LayerNorm",
    "LeNet",
    "NetworkFamily",
    "build_network",
    "canonical_name",
]
