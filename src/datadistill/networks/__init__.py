"""Networks as pure functions of one flat parameter vector, and their names.

Here live the module definitions, the wrapper :class:`FlatNetwork`, and the table of names. Nothing here
knows of data sets, losses or training; no layer here holds state or draws random numbers while it computes.
"""

from datadistill.networks.alexnet import AlexCifarNet, AlexNet, ImageNetAlexNet
from datadistill.networks.convnet import ConvNet, ConvNetOptions
from datadistill.networks.convnext import ConvNeXt
from datadistill.networks.families import NETWORKS, NetworkFamily
from datadistill.networks.flat import FlatNetwork
from datadistill.networks.initial_weights import INITIAL_WEIGHTS
from datadistill.networks.layers import BatchNorm, Classifier, LayerNorm
from datadistill.networks.lenet import LeNet
from datadistill.networks.mlp import MLP
from datadistill.networks.names import build_network, canonical_name
from datadistill.networks.resnet import ResNet
from datadistill.networks.vgg import VGG
from datadistill.networks.vit import ViT

__all__ = [
    "INITIAL_WEIGHTS",
    "MLP",
    "NETWORKS",
    "VGG",
    "AlexCifarNet",
    "AlexNet",
    "BatchNorm",
    "Classifier",
    "ConvNeXt",
    "ConvNet",
    "ConvNetOptions",
    "FlatNetwork",
    "ImageNetAlexNet",
    "LayerNorm",
    "LeNet",
    "NetworkFamily",
    "ResNet",
    "ViT",
    "build_network",
    "canonical_name",
]
