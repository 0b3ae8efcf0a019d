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

TESLA (Cui et al., ICML 2023, arXiv:2211.10586) is two switches of it. ``rule = "tesla"`` computes, in its symbols::

    G ← Σ_i g_i,   g_i = ∇ℓ(A(b_i); θ̂_{t+i})                        β: the step size
    L ← ‖θ̂_t − β G − θ*_{t+M}‖² / ‖θ̂_t − θ*_{t+M}‖²
    D_syn.grad ← ∂L/∂G · Σ_i ∂g_i/∂D_syn at constant θ̂_{t+i},   β.grad ← ∂L/∂β at constant G

and ``labels = "teacher"`` has the target weights θ*_{t+M} label the images in every iteration.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from datadistill.core.arrays import Images, Params, Targets
from datadistill.core.randomness import Randomness
from datadistill.losses.distance import normalised_distance
from datadistill.methods.base import Metrics, Problem, TensorGradients, Unrolled
from datadistill.methods.segments import SegmentMatching
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.learnable import LearnableSet
from datadistill.training.looking import logits_of


@dataclass(frozen=True, kw_only=True)
class MTT(SegmentMatching):
    """Matching training trajectories with a learned step size.

    Attributes:
        rule: ``exact``: the gradient of the loss; ``tesla``: what TESLA takes for it, for comparison with its numbers;
            ``tesla-as-shipped``: with the pixels' part halved, as its published code has it.
        labels: ``hard``, or ``teacher``: softmax of what the segment's target weights say of the images as they are.
            The exported set is labelled by all experts, at the latest epoch that is ever a target.
    """

    rule: Literal["exact", "tesla", "tesla-as-shipped"] = "exact"
    labels: Literal["hard", "teacher"] = "hard"

    @property
    def unrolled(self) -> Unrolled:
        """N steps on |b| images, for every segment; teachers see the images themselves."""
        return replace(super().unrolled, whole_images=self.labels == "teacher")

    def match(self, problem: Problem, state: LearnableSet, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the matching loss of one segment and its gradients, by ``rule``."""
        segment, steps = self.draw(problem, state, rng)
        targets = _judged(problem, segment.target, state.images) if self.labels == "teacher" else state.targets
        found = problem.require_unroll()(
            segment.start,
            state.images,
            targets,
            state.student_lr,
            steps,
            loss=lambda end: normalised_distance(end, segment.start, segment.target),
            truncated=self.rule != "exact",
        )
        metrics = {"matching_loss": found.loss, "student_lr": state.student_lr[0].clone()}
        images = found.images / 2 if self.rule == "tesla-as-shipped" else found.images
        return metrics, {"images": images, "student_lr": found.student_lr}

    def export(self, problem: Problem, state: LearnableSet) -> SyntheticSet:
        """Return images, targets and the learned step size."""
        return self._labelled(problem, super().export(problem, state))

    def variants(self, problem: Problem, state: LearnableSet) -> dict[str, SyntheticSet]:
        """Return the averaged set, where one is kept, with labels of its own."""
        return {name: self._labelled(problem, made) for name, made in super().variants(problem, state).items()}

    def _labelled(self, problem: Problem, synthetic: SyntheticSet) -> SyntheticSet:
        if self.labels == "hard":
            return synthetic
        store, total = problem.require_experts(), torch.zeros_like(synthetic.targets)
        for expert in range(len(store.sidecars)):
            params = store.segment(expert, self.expert_epochs_needed, 0).target.to(synthetic.images)
            total += _judged(problem, params, synthetic.images)
        return replace(synthetic, targets=total / len(store.sidecars))


def _judged(problem: Problem, params: Params, images: Images) -> Targets:
    """Return the distribution that a network sees in each image; constant, whatever it depends on."""
    return logits_of(problem.network, params, images).softmax(1)
