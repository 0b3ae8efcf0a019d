"""DC and DM the slow, obvious way: modules, loops over rows, one graph over all classes.

The oracles of ``datadistill.methods``; they are handed the augmented batches, so that only the arithmetic is compared.
"""

import torch
from torch.nn import functional as F


def distance_ours(one, other):
    """Row by row: one row per output unit; tensors of one dimension are left out."""
    total = torch.zeros((), dtype=one[0].dtype)
    for a, b in zip(one, other, strict=True):
        if a.dim() < 2:
            continue
        for row_a, row_b in zip(a, b, strict=True):
            inner = sum(x * y for x, y in zip(row_a.reshape(-1), row_b.reshape(-1), strict=True))
            lengths = torch.sqrt((row_a**2).sum()) * torch.sqrt((row_b**2).sum())
            total = total + 1 - inner / (lengths + 0.000001)
    return total


def distance_mse(one, other):
    return sum(((a - b) ** 2).sum() for a, b in zip(one, other, strict=True))


def distance_cos(one, other):
    inner = sum((a * b).sum() for a, b in zip(one, other, strict=True))
    lengths = [torch.sqrt(sum((a**2).sum() for a in each)) for each in (one, other)]
    return 1 - inner / (lengths[0] * lengths[1] + 0.000001)


DISTANCES = {"ours": distance_ours, "mse": distance_mse, "cos": distance_cos}


def gradient_matching(module, batches, distance):
    """The sum over the classes and nothing else: ``batches`` is a list of (real, synthetic, label)."""
    weights, total = list(module.parameters()), 0.0
    for real, synthetic, label in batches:
        losses = [F.cross_entropy(module(x), torch.full((len(x),), label)) for x in (real, synthetic)]
        theirs = [g.detach() for g in torch.autograd.grad(losses[0], weights)]
        mine = torch.autograd.grad(losses[1], weights, create_graph=True)
        total = total + DISTANCES[distance](mine, theirs)
    return total


def mean_matching(features, batches):
    """``batches`` as above; ``features`` maps images to vectors."""
    total = 0.0
    for real, synthetic, _ in batches:
        total = total + ((features(real).mean(0).detach() - features(synthetic).mean(0)) ** 2).sum()
    return total
