"""Dataset Condensation with gradient matching (DC): Zhao, Mopuri & Bilen, ICLR 2021, arXiv:2006.05929.

Algorithm 1, in the paper's symbols::

    for k = 0 … K−1:
        θ ~ P_θ
        for t = 0 … T−1:
            for each class c:
                B_c ~ T,  S_c ~ S
                L_c ← D(∇ℓ(A(S_c); θ), ∇ℓ(A(B_c); θ))
            descend on Σ_c L_c with respect to S
            train θ on S, unless t = T−1

    D(g, h) = Σ over layers and output units i of 1 − ⟨g_i, h_i⟩ / (‖g_i‖ ‖h_i‖)

An iteration here is one update of the images. DSA (Zhao & Bilen, ICML 2021, arXiv:2102.08259) is the same with an
augmentation A, drawn once per class and applied to both batches; ``augment`` of the run says which.

Differences from the reference implementation (VICO-UoE/DatasetCondensation, main.py):

* Every class is differentiated by itself: the same gradient, with one class's graph in memory instead of all.
* Gradients of weights that the distance does not depend on (``ours``: those of one dimension) are not computed.
* Any number of images per class; the reference knows six and exits at others.
* Batch norm is given the statistics of real images; in the reference nine tenths of those before stay, as with
  ``statistics_weight`` 0.1.
* ``iterations`` counts updates of the images: ``outer_loop`` times the ``--Iteration`` of the reference, whose loop
  does one more.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from datadistill.core.arrays import Statistics
from datadistill.core.randomness import Randomness
from datadistill.data.sampling import draw_batches
from datadistill.methods.base import FORWARDS_PER_GRADIENT, FORWARDS_PER_REVERSE, Metrics, Problem, TensorGradients
from datadistill.methods.classwise import ClassMatching
from datadistill.synthetic.carried import SetWithNetwork
from datadistill.training.fit import Examples, Fitted, fit
from datadistill.training.schedules import TrainingRecipe
from datadistill.unroll.matching import GradientMatch

_LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
_STATISTICS_BATCH = 16  # real images per class whose statistics batch norm is given


def loops(ipc: int) -> tuple[int, int]:
    """Return outer and inner loop for so many images per class: the reference's where it has some.

    Elsewhere the outer loop is as long as the class is large, at most 50, and both together give 500 epochs.
    """
    outer = min(ipc, 50)
    return _LOOPS.get(ipc, (outer, round(500 / outer)))


@dataclass(frozen=True, kw_only=True)
class DC(ClassMatching[SetWithNetwork]):
    """Gradient matching; with an augmentation it is DSA.

    Attributes:
        distance: D: ``ours``, the paper's; ``mse``; ``cos``, of all weights as one vector.
        outer_loop: T, updates of the images along the training of one network; absent for what :func:`loops` says.
        inner_loop: Epochs that the network is trained on the set between two of them; absent for the same.
        network_lr: Step size of that training, without momentum.
        batch_train: Its batch size.
        statistics_weight: Weight of the statistics of real images in those that batch norm is given, in (0, 1]. 1 takes
            theirs; 0.1, as published, mostly those from before.
    """

    image_lr: float = 0.1
    distance: Literal["ours", "mse", "cos"] = "ours"
    outer_loop: int | None = None
    inner_loop: int | None = None
    network_lr: float = 0.01
    batch_train: int = 256
    statistics_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outer_loop is not None and self.outer_loop < 1:
            raise ValueError(f"outer_loop must be at least 1, got {self.outer_loop}")
        if self.inner_loop is not None and self.inner_loop < 0:
            raise ValueError(f"inner_loop must not be negative, got {self.inner_loop}")
        if not 0 < self.statistics_weight <= 1:
            raise ValueError(f"statistics_weight must be in (0, 1], got {self.statistics_weight}")
        self._training(1)

    def forwards(self, images: int, classes: int) -> int:
        """Real images have a gradient, synthetic ones one through it; then their network is trained."""
        outer, inner = self._loops(images // classes)
        real, trained = self.batch_real * classes, images * inner * (outer - 1) // outer
        return FORWARDS_PER_GRADIENT * (real + trained) + FORWARDS_PER_REVERSE * images

    def init(self, problem: Problem, rng: Randomness) -> SetWithNetwork:
        """Return the initial images; their network is made by :meth:`advance`."""
        params, statistics = torch.zeros(problem.network.parameter_count), problem.network.initial_statistics()
        return SetWithNetwork(problem.initial_images, problem.initial_targets, self.rates, params, statistics)

    def gradient(self, problem: Problem, state: SetWithNetwork, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the sum over the classes of the distance of gradients, and its gradient."""
        match = GradientMatch(problem.network, self.distance, problem.compiled)
        network = state.params, self._statistics(problem, state, rng)
        targets, found = problem.class_parts(state.targets), []
        for pair in self.pairs(problem, state, rng):
            labels = torch.full((len(pair.real),), pair.label, device=problem.device)
            value, gradient = match(*network, pair.real, labels, pair.synthetic, targets[pair.label])
            found.append((value, pair.pulled_back(gradient)))
        values, gradients = zip(*found, strict=True)
        return {"gradient_distance": torch.stack(values).sum()}, {"images": torch.cat(gradients)}

    def advance(self, problem: Problem, state: SetWithNetwork, rng: Randomness) -> None:
        """Train the network on the set, or take a new one before the first outer loop and after each."""
        outer, inner = self.loops(problem)
        if rng.iteration % outer == 0:
            state.params.copy_(problem.network.initial(rng.stream("network")))
            state.statistics.copy_(problem.network.initial_statistics())
            return
        if state.statistics.numel():
            state.statistics.copy_(self._statistics(problem, state, rng))
        if inner == 0:
            return
        start = Fitted(state.params, state.statistics, torch.zeros_like(state.params), 0, torch.zeros(()))
        setting = Examples(state.images, state.targets), self._training(inner), problem.augment, rng.child("inner")
        for _ in fit(problem.network, start, *setting, compiled=problem.compiled):
            pass  # in place

    def loops(self, problem: Problem) -> tuple[int, int]:
        """Return the outer and the inner loop for a set of this size."""
        return self._loops(len(problem.initial_images) // problem.data.classes)

    def _loops(self, ipc: int) -> tuple[int, int]:
        outer, inner = loops(ipc)
        return self.outer_loop or outer, inner if self.inner_loop is None else self.inner_loop

    def _training(self, epochs: int) -> TrainingRecipe:
        return TrainingRecipe(epochs=epochs, batch_size=self.batch_train, lr=self.network_lr)

    def _statistics(self, problem: Problem, state: SetWithNetwork, rng: Randomness) -> Statistics:
        """Return what batch norm is given: the statistics of real images, and of those before; empty without any."""
        if not state.statistics.numel():
            return state.statistics
        rows = draw_batches(problem.real_rows, _STATISTICS_BATCH, rng.stream("statistics"), problem.device)
        with torch.no_grad():
            real = problem.preprocess(problem.data.train.images[torch.cat(list(rows))]).to(state.images.dtype)
            _, seen = problem.network.with_statistics(state.params, real)
        return state.statistics.lerp(seen, self.statistics_weight)
