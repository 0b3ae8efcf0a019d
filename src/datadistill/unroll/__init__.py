"""The differentiable-training engine: exact gradients of a trained student with respect to its training set.

One interface, two exact strategies. Knows networks, augmentations and tensors; not experts, not methods.
"""

from datadistill.unroll.engine import Gradients, MeanGradients, Unroll
from datadistill.unroll.optimisers import Adam, Momentum, StudentOptimiser
from datadistill.unroll.steps import Steps, draw_steps

__all__ = ["Adam", "Gradients", "MeanGradients", "Momentum", "Steps", "StudentOptimiser", "Unroll", "draw_steps"]
