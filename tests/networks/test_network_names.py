"""Names of networks: one canonical spelling, upstream's understood."""

import pytest

from datadistill.core.errors import UnknownNameError
from datadistill.networks import build_network, canonical_name


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("convnet", "convnet-3"),
        ("convnet-3", "convnet-3"),
        ("ConvNet-3", "convnet-3"),
        ("convnet-w128-instancenorm-relu-avgpool-3", "convnet-3"),
        ("convnet-nopool-batchnorm-4-w64-sigmoid", "convnet-4-w64-batchnorm-sigmoid-nopool"),
        ("ConvNet", "convnet-3"),
        ("ConvNetD3", "convnet-3"),
        ("ConvNetD8", "convnet-8"),
        ("ConvNetW32", "convnet-3-w32"),
        ("ConvNetW128", "convnet-3"),
        ("ConvNetW", "convnet-3-w512"),
        ("ConvNetAS", "convnet-3-sigmoid"),
        ("ConvNetAR", "convnet-3"),
        ("ConvNetAL", "convnet-3-leakyrelu"),
        ("ConvNetASwish", "convnet-3-swish"),
        ("ConvNetASwishBN", "convnet-3-batchnorm-swish"),
        ("ConvNetNN", "convnet-3-nonorm"),
        ("ConvNetBN", "convnet-3-batchnorm"),
        ("ConvNetLN", "convnet-3-layernorm"),
        ("ConvNetIN", "convnet-3"),
        ("ConvNetGN", "convnet-3-groupnorm"),
        ("ConvNetNP", "convnet-3-nopool"),
        ("ConvNetMP", "convnet-3-maxpool"),
        ("ConvNetAP", "convnet-3"),
        ("ConvNetKIP", "convnet-3-w1024-nonorm"),
        ("ConvNetD4BN", "convnet-4-batchnorm"),
        ("MLP", "mlp"),
        ("LeNet", "lenet"),
        ("ConvNetGAP", "convnet-3-gap"),
        ("ConvNetD4BNGAP", "convnet-4-batchnorm-gap"),
        ("ConvNet-3-BN", "convnet-3-batchnorm"),
        ("AlexCifarNet", "alexcifarnet"),
        ("AlexNet", "alexnet"),
        ("AlexNetBN", "alexnet-batchnorm"),
        ("AlexNetImageNet", "alexnet-imagenet"),
        ("VGG11", "vgg-11"),
        ("vgg", "vgg-11"),
        ("VGG16", "vgg-16"),
        ("VGG11BN", "vgg-11-batchnorm"),
        ("vgg16_bn", "vgg-16-batchnorm"),
        ("ResNet18", "resnet-18"),
        ("resnet", "resnet-18"),
        ("ResNet-18-BN", "resnet-18-batchnorm"),
        ("ResNet18BN_AP", "resnet-18-batchnorm-avgpool"),
        ("ResNet18_AP", "resnet-18-avgpool"),
        ("ResNet18ImageNet", "resnet-18-imagenet"),
        ("ViT", "vit-apm"),
        ("vit-tiny-p16", "vit-tiny-p16"),
        ("vit-p4-tiny", "vit-tiny"),
        ("convnext", "convnext-nano"),
    ],
)
def test_canonical_names(name, canonical):
    assert canonical_name(name) == canonical
    assert canonical_name(canonical) == canonical
    assert build_network(name, (1, 256, 256), 2).name == canonical


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lenett", "did you mean 'lenet'"),
        ("convnett-3", "did you mean 'convnet-3'"),
        ("convnet-3-bachnorm", "unknown option 'bachnorm'; did you mean 'batchnorm'"),
        ("convnet-3-w", "unknown option 'w'"),
        ("ConvNetDD", "did you mean 'ConvNetD3'"),
        ("mlp-3", "takes no options"),
        ("", "unknown network ''; valid: alexcifarnet, alexnet, convnet,"),
        ("resnet18bnn", "did you mean 'ResNet18BN'"),
        ("vgg-11-avgpool", "unknown option 'avgpool'"),
        ("VGG11_AP", "unknown option 'avgpool'"),
        ("lenet+xavierr", r"network 'lenet\+xavierr': unknown initial weights 'xavierr'; did you mean 'xavier'"),
    ],
)
def test_unknown_names_say_the_nearest(name, message):
    with pytest.raises(UnknownNameError, match=message):
        canonical_name(name)
