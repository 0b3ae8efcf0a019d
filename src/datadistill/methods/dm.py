"""Distribution Matching (DM): Zhao & Bilen, WACV 2023, arXiv:2110.04181.

Algorithm 1, in the paper's symbols::

    for k = 0 … K−1:
        ψ ~ P_ϑ                                        a random network, without its last layer
        for each class c:
            B_c ~ T,  S_c ⊂ S,  ω_c ~ Ω
            L_c ← ‖ mean ψ(A(B_c, ω_c)) − mean ψ(A(S_c, ω_c)) ‖²
        descend on Σ_c L_c with respect to S

Differences from the reference implementation (VICO-UoE/DatasetCondensation, main_DM.py):

* A few classes are differentiated at a time, and large ones in pieces: the same gradient, in memory that does not grow
  with the set. With batch norm all classes have to be in one batch, as there.
* Any number of images per class; the reference exits at most of those that its paper reports.
* A class with fewer images than ``batch_real`` gives all it has, with batch norm as well, where the reference fails.
* As many iterations as asked for; the reference does one more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from datadistill.core.arrays import Images
from datadistill.core.randomness import Randomness
from datadistill.methods.base import Metrics, Problem, TensorGradients
from datadistill.methods.classwise import ClassMatching
from datadistill.synthetic.learnable import LearnableSet

_TOGETHER = 256  # synthetic images differentiated at once
_CLASSES = 16  # whose real images are there at once

Embedding = Callable[[Images], Tensor]


@dataclass(frozen=True, kw_only=True)
class DM(ClassMatching[LearnableSet]):
    """Matching mean features in random networks.

    Attributes:
        iterations_per_network: Iterations that a random network is used for, at least 1.
    """

    iterations_per_network: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations_per_network < 1:
            raise ValueError(f"iterations_per_network must be at least 1, got {self.iterations_per_network}")

    def init(self, problem: Problem, rng: Randomness) -> LearnableSet:
        """Return the initial images."""
        return LearnableSet(problem.initial_images, problem.initial_targets, self.rates)

    def gradient(self, problem: Problem, state: LearnableSet, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the sum over the classes of the squared distance of mean features, and its gradient."""
        network, joint = problem.network, problem.network.statistics_count > 0
        drawn = rng.at((rng.iteration - 1) // self.iterations_per_network)
        embed = partial(network.features, network.initial(drawn.stream("network")).to(state.images))
        classes, ipc = problem.data.classes, len(state.images) // problem.data.classes
        together = classes if joint else max(1, min(_CLASSES, _TOGETHER // ipc))
        pairs = self.pairs(problem, state, rng)
        values, gradients = [], []
        while group := list(islice(pairs, together)):
            means = _means(embed, [pair.real for pair in group], joint=joint)
            seen = torch.cat([pair.synthetic for pair in group])
            value, by_seen = _distance(embed, seen.detach(), means, joint=joint)
            values.append(value)
            gradients += [pair.pulled_back(own) for pair, own in zip(group, by_seen.split(ipc), strict=True)]
        return {"feature_distance": torch.stack(values).sum()}, {"images": torch.cat(gradients)}

    def advance(self, problem: Problem, state: LearnableSet, rng: Randomness) -> None:
        """Nothing: a network is a function of the iteration."""


def _means(embed: Embedding, reals: Sequence[Images], *, joint: bool) -> Tensor:
    """Return the mean features of each class, ``[g d]``; of one batch where images depend on each other."""
    with torch.no_grad():
        features = torch.cat([embed(batch) for batch in ([torch.cat(list(reals))] if joint else reals)])
        return torch.stack([own.mean(0) for own in features.split([len(real) for real in reals])])


def _distance(embed: Embedding, seen: Images, means: Tensor, *, joint: bool) -> tuple[Tensor, Images]:
    """Return the summed squared distance of the mean features of ``g`` classes from ``means``, and its gradient.

    Args:
        embed: The features.
        seen: As many images of each class, one class after another.
        means: ``[g d]``.
        joint: Whether the features of an image depend on the others, so that all have to be there at once.
    """
    if joint or len(seen) <= _TOGETHER:
        leaf = seen.requires_grad_()
        value = (embed(leaf).unflatten(0, (len(means), -1)).mean(1) - means).square().sum()
        return value.detach(), torch.autograd.grad(value, leaf)[0]
    parts = seen.split(_TOGETHER)  # of a single class
    with torch.no_grad():
        difference = torch.stack([embed(part).sum(0) for part in parts]).sum(0) / len(seen) - means[0]
    by_feature, gradients = 2 * difference / len(seen), []
    for part in parts:
        leaf = part.detach().requires_grad_()
        gradients += torch.autograd.grad(embed(leaf).sum(0), leaf, by_feature)
    return difference.square().sum(), torch.cat(gradients)
