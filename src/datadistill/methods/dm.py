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

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from datadistill.core.randomness import Randomness
from datadistill.methods.base import FORWARDS_PER_GRADIENT, Metrics, Problem, TensorGradients
from datadistill.methods.classwise import ClassMatching
from datadistill.synthetic.learnable import LearnableSet
from datadistill.unroll.embedding import FeatureMatch

_TOGETHER = 256  # synthetic images differentiated at once
_CLASSES = 16  # whose real images are there at once


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

    def forwards(self, images: int, classes: int) -> int:
        """Real images pass forward only."""
        return self.batch_real * classes + FORWARDS_PER_GRADIENT * images

    def init(self, problem: Problem, rng: Randomness) -> LearnableSet:
        """Return the initial images."""
        return LearnableSet(problem.initial_images, problem.initial_targets, self.rates)

    def gradient(self, problem: Problem, state: LearnableSet, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the sum over the classes of the squared distance of mean features, and its gradient."""
        network, joint = problem.network, problem.network.statistics_count > 0
        drawn = rng.at((rng.iteration - 1) // self.iterations_per_network)
        params = network.initial(drawn.stream("network")).to(state.images)
        match = FeatureMatch(network, params, problem.compiled)
        classes, ipc = problem.data.classes, len(state.images) // problem.data.classes
        together = classes if joint else max(1, min(_CLASSES, _TOGETHER // ipc))
        pairs = self.pairs(problem, state, rng)
        values, gradients = [], []
        while group := list(islice(pairs, together)):
            means = _means(match, [pair.real for pair in group], joint=joint)
            seen = torch.cat([pair.synthetic for pair in group])
            if joint or len(seen) <= _TOGETHER:
                value, by_seen = match.distance(seen, means)
            else:  # of a single class
                value, by_seen = match.distance_in_pieces(seen, means[0], _TOGETHER)
            values.append(value)
            gradients += [pair.pulled_back(own) for pair, own in zip(group, by_seen.split(ipc), strict=True)]
        return {"feature_distance": torch.stack(values).sum()}, {"images": torch.cat(gradients)}

    def advance(self, problem: Problem, state: LearnableSet, rng: Randomness) -> None:
        """Nothing: a network is a function of the iteration."""


def _means(match: FeatureMatch, reals: Sequence[Tensor], *, joint: bool) -> Tensor:
    """Return the mean features of each class, ``[g d]``; of one batch where images depend on each other."""
    batches = [torch.cat(list(reals))] if joint else reals
    features = torch.cat([match.features(batch) for batch in batches])
    return torch.stack([own.mean(0) for own in features.split([len(real) for real in reals])])
