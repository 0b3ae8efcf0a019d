"""The terms of pre-trained models as their paper writes them: every pair of images, no sums kept.

The oracles of ``datadistill.methods.clom``.
"""

import torch
from torch.nn import functional as F


def clom(logits, labels):
    """``logits`` maps images to ``[n k]``; the mean over the set."""

    def loss(images):
        scores = logits(images)
        return -sum(torch.log_softmax(row, 0)[y] for row, y in zip(scores, labels.tolist(), strict=True)) / len(labels)

    return loss


def cclom(features, labels, real, real_labels):
    """``features`` maps images to ``[n d]``; the ratio over all pairs."""

    def loss(images):
        of_set, of_real = features(images), features(real).detach()
        within, everywhere = 0.0, 0.0
        for s, y in zip(of_set, labels.tolist(), strict=True):
            for r, other in zip(of_real, real_labels.tolist(), strict=True):
                distance = 1 - F.cosine_similarity(s, r, dim=0)
                everywhere = everywhere + distance
                if y == other:
                    within = within + distance
        return within / everywhere

    return loss
