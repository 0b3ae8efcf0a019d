"""What a module must not contain to be a pure function of its parameters."""

import torch
from torch import nn

from datadistill.core.errors import UsageError

_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
_INSTANCE_NORMS = (nn.modules.instancenorm._InstanceNorm,)
_RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU)
_OTHER_RANDOM = ("DropPath", "StochasticDepth", "DropBlock2d", "PatchDropout")
"""Random layers of timm, torchvision and those who copied them."""

_RATES = ("p", "drop_prob", "prob", "rate")
"""Where such layers keep their rate."""


def refuse_impure(module: nn.Module, name: str) -> None:
    """Check every layer of a module.

    Raises:
        UsageError: If a layer mutates buffers, draws random numbers or holds tensors that are not parameters;
            the message names the layer and says what to use instead.
    """
    for path, layer in module.named_modules():
        reason = _impurity(layer)
        if reason:
            where = f"layer '{path}'" if path else "the module itself"
            raise UsageError(f"network '{name}': {where} ({type(layer).__name__}) {reason}")


def _impurity(layer: nn.Module) -> str:
    if isinstance(layer, _INSTANCE_NORMS):  # derived from torch's batch norm, so asked first
        return "has wrong second derivatives under vmap; use nn.GroupNorm with as many groups as channels"
    if isinstance(layer, _BATCH_NORMS):
        return "mutates its running statistics; use datadistill.networks.BatchNorm, which has none"
    if isinstance(layer, nn.LayerNorm):
        return "has wrong second derivatives under vmap; use datadistill.networks.LayerNorm, its equal"
    rate = getattr(layer, "dropout", 0.0)  # attention and recurrent layers carry one
    if isinstance(layer, _RANDOM) or type(layer).__name__ in _OTHER_RANDOM:
        rate = next((getattr(layer, key) for key in _RATES if hasattr(layer, key)), 1.0)
    if isinstance(rate, int | float) and rate > 0:
        return "draws random numbers, so a recomputed student would differ; use rate 0 or another regulariser"
    buffers = [name for name, _ in layer.named_buffers(recurse=False)]
    if buffers:
        return f"has a buffer '{buffers[0]}'; make it a parameter, or compute it in forward"
    tensors = [name for name, value in vars(layer).items() if isinstance(value, torch.Tensor)]
    return f"holds a tensor '{tensors[0]}' that is not a parameter; compute it in forward" if tensors else ""
