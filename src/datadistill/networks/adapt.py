"""Put a layer of ours in the place of torch's own norms, wherever it computes exactly the same.

What is left, :mod:`~datadistill.networks.checks` refuses by name. ReLUs that work in place stay: another module may
mean what they overwrite, and torch itself says so when a gradient would need it.
"""

from torch import nn

from datadistill.networks.layers import BatchNorm, ChannelNorm, LayerNorm

_OVER_FEATURES = {"torch.nn.modules.normalization.LayerNorm", "timm.layers.norm.LayerNorm"}
_OVER_CHANNELS = {"torchvision.models.convnext.LayerNorm2d", "timm.layers.norm.LayerNorm2d"}


def adapted(module: nn.Module) -> nn.Module:
    """Return the module with its norms replaced, in place where it is not a norm itself.

    * ``BatchNorm2d`` with weights and running statistics → :class:`BatchNorm`. How fast statistics are averaged is up
      to the training loop, as everywhere here.
    * ``LayerNorm`` with weight and bias → :class:`LayerNorm`; ``LayerNorm2d`` of torchvision and timm →
      :class:`ChannelNorm`.
    * ``InstanceNorm2d`` without running statistics → ``GroupNorm`` with a group per channel.

    The parameters themselves move: values, order and sharing stay.
    """
    found: dict[int, nn.Module] = {}  # a layer that stands in two places is one layer afterwards too
    for parent in list(module.modules()):
        for key, layer in parent._modules.items():
            if layer is not None and (ours := found.get(id(layer)) or _ours(layer)) is not None:
                found[id(layer)] = parent._modules[key] = ours
    return _ours(module) or module


def _ours(layer: nn.Module) -> nn.Module | None:
    """Return the equal of one layer; none where there is none. A subclass may compute anything."""
    if type(layer) is nn.BatchNorm2d and layer.affine and layer.track_running_stats:
        return _with_parameters(BatchNorm(layer.num_features, eps=layer.eps), layer)
    if isinstance(layer, nn.LayerNorm) and layer.elementwise_affine and layer.bias is not None:
        name, shape = f"{type(layer).__module__}.{type(layer).__qualname__}", tuple(layer.normalized_shape)
        if name in _OVER_FEATURES:
            return _with_parameters(LayerNorm(shape, eps=layer.eps), layer)
        if name in _OVER_CHANNELS:
            return _with_parameters(ChannelNorm(shape[0], eps=layer.eps), layer)
    if type(layer) is nn.InstanceNorm2d and not layer.track_running_stats:
        channels = layer.num_features
        return _with_parameters(nn.GroupNorm(channels, channels, eps=layer.eps, affine=layer.affine), layer)
    return None


def _with_parameters(ours: nn.Module, theirs: nn.Module) -> nn.Module:
    ours._parameters.update(theirs._parameters)
    return ours
