"""Difficulty-Aligned Trajectory Matching (DATM): Guo et al., ICLR 2024, arXiv:2310.05773.

As MTT, with segments as difficult as the set is large, and labels that are learned. In the symbols of MTT::

    (x, y) ← real images that the end of an expert recognises, z ← mean of the logits of the experts that recognise them
    in iteration i:
        T ← T₀ + (T⁺ − T₀) · min(1, i / I)
        sample an expert τ* and a start epoch T⁻ ≤ t < T
        θ̂_t ← θ*_t
        for n = 0 … N−1:
            θ̂_{t+n+1} ← θ̂_{t+n} − α ∇ℓ(A(b_n), softmax(z_n); θ̂_{t+n}),   b_n ~ D_syn
        L ← ‖θ̂_{t+N} − θ*_{t+M}‖² / ‖θ*_t − θ*_{t+M}‖²
        if L ≤ threshold: descend on L with respect to x, z and α

Differences from the reference implementation (NUS-HPC-AI-Lab/DATM, distill/DATM.py):

* An image that no expert recognises gets the mean logits of all, with a warning; the reference divides 0 by 0.
* Of a class with too few images that are recognised others are taken; the reference searches forever.
* Whether an update is taken is decided on the device, without waiting for it.
* What MTT does in another way than its reference holds here as well.
"""

import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from datadistill.core.arrays import Images, Logits
from datadistill.core.randomness import Randomness
from datadistill.losses.distance import normalised_distance
from datadistill.methods.base import UPDATE_TAKEN, Metrics, Problem, TensorGradients, Unrolled
from datadistill.methods.segments import SegmentMatching
from datadistill.synthetic.learnable import LearnableSet, Rates
from datadistill.synthetic.rules import Rule
from datadistill.synthetic.soft_labels import SoftLabelledSet
from datadistill.training.looking import LOOKED_AT, logits_of


@dataclass(frozen=True, kw_only=True)
class DATM(SegmentMatching):
    """Trajectory matching with learned labels and a range of start epochs that fits the size of the set.

    Attributes:
        min_start_epoch: T⁻, the earliest start epoch.
        first_max_start_epoch: T₀, the bound of the start epochs in the first iteration, from where it rises in equal
            steps; absent for T⁺ at once.
        expansion_iterations: I, iterations until the bound is T⁺; with ``first_max_start_epoch``.
        label_lr: Step size of the label logits; 0 leaves them as they are.
        label_momentum: Of the label logits, in [0, 1).
        loss_threshold: Updates on a higher matching loss are not taken; absent for taking all.
        only_recognised: Whether the set starts from real images that the end of the first expert recognises, instead
            of the initial images of the recipe, which are then to be ``real``.
    """

    min_start_epoch: int = 0
    first_max_start_epoch: int | None = None
    expansion_iterations: int | None = None
    label_lr: float = 10.0
    label_momentum: float = 0.9
    loss_threshold: float | None = None
    only_recognised: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        first, length = self.first_max_start_epoch, self.expansion_iterations
        if (first is None) != (length is None) or (length is not None and length < 1):
            raise ValueError("first_max_start_epoch and expansion_iterations (at least 1) go together")
        bound = self.max_start_epoch if first is None else first
        if not 0 <= self.min_start_epoch < bound <= self.max_start_epoch:
            raise ValueError(
                "min_start_epoch must be at least 0, below first_max_start_epoch, and that not above max_start_epoch: "
                f"got {self.min_start_epoch}, {bound} and {self.max_start_epoch}"
            )
        if not (self.label_lr >= 0 and 0 <= self.label_momentum < 1):
            raise ValueError(
                f"label_lr must not be negative, label_momentum in [0, 1), got {self.label_lr}, {self.label_momentum}"
            )
        if self.loss_threshold is not None and not self.loss_threshold > 0:
            raise ValueError(f"loss_threshold must be positive, got {self.loss_threshold}")
        if self.average_decay is not None:
            raise ValueError("average_decay: DATM keeps no average")

    @property
    def unrolled(self) -> Unrolled:
        """N steps on |b| images, for every segment; experts label the images themselves."""
        return replace(super().unrolled, whole_images=True)

    def start_epochs(self, iteration: int) -> range:
        """Return the start epochs that iteration ``iteration``, from 1, draws from."""
        if self.first_max_start_epoch is None or self.expansion_iterations is None:
            return range(self.min_start_epoch, self.max_start_epoch)
        more = self.max_start_epoch - self.first_max_start_epoch
        risen = more * min(max(iteration - 1, 0), self.expansion_iterations) // self.expansion_iterations
        return range(self.min_start_epoch, self.first_max_start_epoch + risen)

    def rates(self, problem: Problem) -> Rates:
        """Return how images, label logits and step size are updated."""
        labels = Rule(lr=self.label_lr, momentum=self.label_momentum)
        return replace(super().rates(problem), label_logits=labels)

    def init(self, problem: Problem, rng: Randomness) -> SoftLabelledSet:
        """Return real images with what experts see in them, and the initial step size."""
        labels = problem.initial_targets.argmax(1)
        images = _recognised(problem, labels, rng) if self.only_recognised else problem.initial_images
        student_lr = torch.tensor([self.student_lr], dtype=images.dtype)
        return SoftLabelledSet(images, _seen_by_experts(problem, images, labels), self.rates(problem), student_lr)

    def gradient(self, problem: Problem, state: LearnableSet, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the mean matching loss, its gradients, and whether the update is to be taken."""
        metrics, gradients = super().gradient(problem, state, rng)
        if self.loss_threshold is not None:
            loss = metrics["matching_loss"]
            metrics = {**metrics, UPDATE_TAKEN: (loss <= self.loss_threshold).to(loss)}
        return metrics, gradients

    def match(self, problem: Problem, state: LearnableSet, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the matching loss of one segment and its gradients."""
        assert isinstance(state, SoftLabelledSet)  # as made by init
        segment, steps = self.draw(problem, state, rng)
        found = problem.require_unroll()(
            segment.start,
            state.images,
            state.targets,
            state.student_lr,
            steps,
            loss=lambda end: normalised_distance(end, segment.start, segment.target),
        )
        metrics = {"matching_loss": found.loss, "student_lr": state.student_lr[0].clone()}
        learned = {"images": found.images, "student_lr": found.student_lr}
        return metrics, {**learned, "label_logits": state.through_softmax(found.targets)}


def _logits(problem: Problem, expert: int, images: Images) -> Logits:
    """Return what an expert says of the images at the end of its training."""
    params, statistics = (tensor.to(images) for tensor in problem.require_experts().final(expert))
    return logits_of(problem.network, params, images, statistics)


def _recognised(problem: Problem, labels: Tensor, rng: Randomness) -> Images:
    """Return real images of the classes ``labels`` that the end of the first expert recognises, as far as possible."""
    train, generator, chosen = problem.data.train, rng.stream("recognised"), torch.zeros_like(problem.initial_images)
    for label in labels.unique().tolist():
        rows = (train.labels == label).nonzero().flatten()
        order, wanted = torch.randperm(len(rows), generator=generator), labels == label
        count, right, wrong = int(wanted.sum()), chosen[:0], chosen[:0]
        for part in rows[order.to(rows.device)].split(LOOKED_AT):
            images = problem.preprocess(train.images[part]).to(chosen)
            seen = _logits(problem, 0, images).argmax(1) == label
            right, wrong = torch.cat([right, images[seen]]), torch.cat([wrong, images[~seen]])
            if len(right) >= count:
                break
        chosen[wanted] = torch.cat([right, wrong])[:count]
    return chosen


def _seen_by_experts(problem: Problem, images: Images, labels: Tensor) -> Logits:
    """Return the mean logits of the experts that recognise an image, or of all where none does."""
    experts = len(problem.require_experts().sidecars)
    every, some = (torch.zeros_like(problem.initial_targets) for _ in range(2))
    number = torch.zeros_like(every[:, :1])
    for expert in range(experts):
        logits = _logits(problem, expert, images)
        right = (logits.argmax(1) == labels)[:, None].to(logits)
        every, some, number = every + logits, some + right * logits, number + right
    if lost := int((number == 0).sum()):
        warnings.warn(
            f"{lost} of {len(images)} initial images are recognised by no expert: all label them", stacklevel=2
        )
    return torch.where(number > 0, some / number.clamp(min=1), every / experts)
