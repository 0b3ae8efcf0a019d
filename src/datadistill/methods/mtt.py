"""Matching Training Trajectories (MTT): Cazenavette et al., CVPR 2022, arXiv:2203.11932.

Algorithm 1, in the paper's symbols::

    sample an expert τ* and a start epoch t < T⁺
    θ̂_t ← θ*_t
    for n = 0 … N−1:
        θ̂_{t+n+1} ← θ̂_{t+n} − α ∇ℓ(A(b_n); θ̂_{t+n}),   b_n ~ D_syn
    L ← ‖θ̂_{t+N} − θ*_{t+M}‖² / ‖θ*_t − θ*_{t+M}‖²
    descend on L with respect to D_syn and α

Differences from the reference implementation (GeorgeCazenavette/mtt-distillation, distill.py):

* The gradient is the same, but computed by the adjoint: one step's graph in memory instead of N.
* α stays positive; the reference subtracts and may cross zero, after which its evaluation fails.
* Experts are drawn with replacement; the reference goes through shuffled files (or draws, with
  ``--load_all``).
* The loop ends after the given number of iterations, not one later, and no network is built in it.
"""

from dataclasses import dataclass

import torch

from datadistill.core.randomness import Randomness
from datadistill.losses.distance import normalised_distance
from datadistill.methods.base import Metrics, Need, Problem, TensorGradients, Unrolled
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.learnable import LearnableSet, Rates
from datadistill.unroll import draw_steps


@dataclass(frozen=True, kw_only=True)
class MTT:
    """Matching training trajectories with a learned step size.

    Attributes:
        expert_epochs: M, epochs between the start and the target of a segment, at least 1.
        student_steps: N, steps of the student, at least 1.
        max_start_epoch: T⁺; start epochs are 0 … T⁺−1.
        batch_syn: |b|, synthetic images per student step; absent for the whole set.
        image_lr: Step size of the pixels (SGD, momentum ``momentum``).
        student_lr: α before the first iteration, > 0.
        student_lr_lr: Step size of α; 0 leaves it as it is.
        momentum: Of both, in [0, 1).
    """

    expert_epochs: int
    student_steps: int
    max_start_epoch: int
    batch_syn: int | None = None
    image_lr: float = 1000.0
    student_lr: float = 0.01
    student_lr_lr: float = 1e-5
    momentum: float = 0.5

    def __post_init__(self) -> None:
        if min(self.expert_epochs, self.student_steps, self.max_start_epoch) < 1:
            raise ValueError("expert_epochs, student_steps and max_start_epoch must be at least 1")
        if self.batch_syn is not None and self.batch_syn < 1:
            raise ValueError(f"batch_syn must be at least 1, got {self.batch_syn}")
        if not self.student_lr > 0:
            raise ValueError(f"student_lr must be positive, got {self.student_lr}")
        if not (self.image_lr > 0 and self.student_lr_lr >= 0):
            raise ValueError(
                f"image_lr must be positive, student_lr_lr not negative, got {self.image_lr}, {self.student_lr_lr}"
            )
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")

    @property
    def needs(self) -> frozenset[Need]:
        """Experts."""
        return frozenset({"experts"})

    @property
    def expert_epochs_needed(self) -> int:
        """The latest start is T⁺−1, its target M later."""
        return self.max_start_epoch - 1 + self.expert_epochs

    @property
    def unrolled(self) -> Unrolled:
        """N steps on |b| images."""
        return Unrolled(self.student_steps, self.batch_syn)

    def init(self, problem: Problem, rng: Randomness) -> LearnableSet:
        """Return the initial images with the initial step size."""
        rates = Rates(images=self.image_lr, student_lr=self.student_lr_lr, momentum=self.momentum)
        student_lr = torch.tensor([self.student_lr], dtype=problem.initial_images.dtype)
        return LearnableSet(problem.initial_images, problem.initial_targets, rates, student_lr)

    def gradient(self, problem: Problem, state: LearnableSet, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the matching loss of one segment and its gradients."""
        segment = problem.require_experts().sample(
            span=self.expert_epochs, start_before=self.max_start_epoch, generator=rng.stream("expert")
        )
        start, target = segment.start.to(state.images), segment.target.to(state.images)
        steps = draw_steps(
            rng,
            problem.augment,
            images=len(state.images),
            steps=self.student_steps,
            batch_size=self.batch_syn,
            device=problem.device,
        )
        found = problem.require_unroll()(
            start,
            state.images,
            state.targets,
            state.student_lr,
            steps,
            loss=lambda end: normalised_distance(end, start, target),
        )
        metrics = {"matching_loss": found.loss, "student_lr": state.student_lr[0].clone()}
        return metrics, {"images": found.images, "student_lr": found.student_lr}

    def advance(self, problem: Problem, state: LearnableSet, rng: Randomness) -> None:
        """Nothing: the student is new in every iteration."""

    def export(self, problem: Problem, state: LearnableSet) -> SyntheticSet:
        """Return images, one-hot targets and the learned step size."""
        return state.freeze()
