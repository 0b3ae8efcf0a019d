"""Poisoned training images: how far a network that saw them takes one class for another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from datadistill.core.arrays import Labels
from datadistill.synthetic.artifact import Card
from datadistill.training.fit import Examples

Figures = tuple[tuple[float, ...], ...]
"""One fraction per draw and network: ``[draws][networks]``."""


@dataclass(frozen=True)
class Attack:
    """What a set was distilled to do to networks that are trained on it.

    Attributes:
        attack_class: Index of the class that is to be misclassified.
        target_class: Index of the class it is to be taken for.
        names: Of both.
    """

    attack_class: int
    target_class: int
    names: tuple[str, str] = ("", "")

    def figures(self, predicted: Labels, labels: Labels) -> tuple[float, float, float]:
        """Return accuracy on the attacked class, the part of it taken for the target, and accuracy on all others.

        A fraction of no images is 0.
        """
        attacked = labels == self.attack_class
        hits = (
            (predicted[attacked] == self.attack_class),
            (predicted[attacked] == self.target_class),
            (predicted == labels)[~attacked],
        )
        right, taken, others = (float(hit.double().mean().nan_to_num()) for hit in hits)
        return right, taken, others

    def relabelled(self, examples: Examples) -> Examples:
        """Return examples in which the attacked class bears the label of the target."""
        targets = examples.targets.clone()
        if targets.dim() == 1:
            targets[targets == self.attack_class] = self.target_class
        else:
            rows = targets.argmax(1) == self.attack_class
            targets[rows] = torch.eye(targets.shape[1]).to(targets)[self.target_class]
        return replace(examples, targets=targets)


@dataclass(frozen=True, kw_only=True)
class Poisoning:
    """What training on a set has done, network by network.

    Attributes:
        attacked: Accuracy on the attacked class.
        success: Part of the attacked class that is taken for the target class.
        others: Accuracy on all other classes.
    """

    attacked: Figures
    success: Figures
    others: Figures

    @classmethod
    def of(cls, scores: Sequence[Sequence[tuple[float, ...]]]) -> "Poisoning":
        """Return the figures of every draw and network, given as :meth:`Attack.figures` returns them."""
        attacked, success, others = (tuple(tuple(one[i] for one in row) for row in scores) for i in range(3))
        return cls(attacked=attacked, success=success, others=others)

    def means(self) -> tuple[float, float, float]:
        """Return the means over all networks: attacked, success, others."""
        every = (torch.tensor(figures, dtype=torch.float64) for figures in (self.attacked, self.success, self.others))
        attacked, success, others = (float(figures.mean()) for figures in every)
        return attacked, success, others


def attack_of(card: Card) -> Attack | None:
    """Return what a set was distilled to do, as its card says; none for an honest one."""
    attacked, target = (card.hyper_parameters.get(key) for key in ("attack_class", "target_class"))
    if not isinstance(attacked, int) or not isinstance(target, int):
        return None
    return Attack(attacked, target, (card.classes[attacked], card.classes[target]))
