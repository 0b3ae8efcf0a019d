"""What all methods share that match segments of expert trajectories; not a method itself."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datadistill.core.randomness import Randomness
from datadistill.experts import Segment
from datadistill.methods.base import Metrics, Need, Problem, TensorGradients, Unrolled
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.averaging import AveragedSet
from datadistill.synthetic.learnable import LearnableSet, Rates
from datadistill.synthetic.rules import Rule, ScheduleName, schedule
from datadistill.unroll import Steps, draw_steps


@dataclass(frozen=True, kw_only=True)
class SegmentMatching(ABC):
    """A student that starts where an expert was, and should get where the expert got.

    Attributes:
        expert_epochs: M, epochs between the start and the target of a segment, at least 1.
        student_steps: N, steps of the student, at least 1.
        max_start_epoch: T⁺; start epochs are 0 … T⁺−1.
        batch_syn: |b|, synthetic images per student step; absent for the whole set.
        image_lr: Step size of the pixels (SGD, momentum ``momentum``).
        image_lr_schedule: How it changes over the run: ``constant``; ``cosine``: to nothing; ``step``: a tenth of it
            after half of the iterations.
        student_lr: α before the first iteration, > 0.
        student_lr_lr: Step size of α; 0 leaves it as it is.
        momentum: Of both, in [0, 1).
        average_decay: d of the moving average of the images, in (0, 1); absent for none. The averaged set is a variant
            of the run, evaluated beside the last one.
        average_corrected: Whether the average starts empty and is corrected for that, so that the initial images have
            no weight of their own; with ``average_decay`` only, and then ``True`` where it is absent.
        segments: Segments matched in every iteration, at least 1; gradients and metrics are their means.
    """

    expert_epochs: int
    student_steps: int
    max_start_epoch: int
    batch_syn: int | None = None
    image_lr: float = 1000.0
    image_lr_schedule: ScheduleName = "constant"
    student_lr: float = 0.01
    student_lr_lr: float = 1e-5
    momentum: float = 0.5
    average_decay: float | None = None
    average_corrected: bool | None = None
    segments: int = 1

    def __post_init__(self) -> None:
        if min(self.expert_epochs, self.student_steps, self.max_start_epoch) < 1:
            raise ValueError("expert_epochs, student_steps and max_start_epoch must be at least 1")
        if self.segments < 1:
            raise ValueError(f"segments must be at least 1, got {self.segments}")
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
        if self.average_decay is not None and not 0 < self.average_decay < 1:
            raise ValueError(f"average_decay must be in (0, 1), got {self.average_decay}")
        if self.average_decay is None and self.average_corrected is not None:
            raise ValueError("average_corrected is for an average of the images; set average_decay as well")
        if self.average_decay is not None and self.average_corrected is None:
            object.__setattr__(self, "average_corrected", True)

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
        """N steps on |b| images, for every segment."""
        return Unrolled(self.student_steps, self.batch_syn, self.segments)

    @property
    def variant_names(self) -> tuple[str, ...]:
        """The averaged set, where one is kept."""
        return () if self.average_decay is None else ("averaged",)

    def init(self, problem: Problem, rng: Randomness) -> LearnableSet:
        """Return the initial images with the initial step size, and an average of them where one is wanted."""
        student_lr = torch.tensor([self.student_lr], dtype=problem.initial_images.dtype)
        state = LearnableSet(problem.initial_images, problem.initial_targets, self.rates(problem), student_lr)
        if self.average_decay is None:
            return state
        return AveragedSet(state, self.average_decay, corrected=self.average_corrected is not False)

    def rates(self, problem: Problem) -> Rates:
        """Return how images and step size are updated."""
        changing = schedule(self.image_lr_schedule, problem.iterations)
        images = Rule(lr=self.image_lr, momentum=self.momentum, schedule=changing)
        return Rates(images=images, student_lr=self.student_lr_lr, momentum=self.momentum)

    def gradient(self, problem: Problem, state: LearnableSet, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the mean of the matching loss over ``segments`` segments, and its gradients."""
        others = (rng.child("segment", number).at(rng.iteration) for number in range(1, self.segments))
        streams = [rng, *others]
        found = problem.each(_match, [(self, state, stream) for stream in streams])
        metrics, gradients = zip(*found, strict=True)
        return _mean(metrics), _mean(gradients)

    @abstractmethod
    def match(self, problem: Problem, state: LearnableSet, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the matching loss of one segment, other metrics, and its gradients."""

    def start_epochs(self, iteration: int) -> range:
        """Return the start epochs that iteration ``iteration`` draws from."""
        return range(self.max_start_epoch)

    def draw(self, problem: Problem, state: LearnableSet, rng: Randomness) -> tuple[Segment, Steps]:
        """Return a random segment, in the dtype of the images, and what each step of the student trains on."""
        starts = self.start_epochs(rng.iteration)
        segment = problem.require_experts().sample(
            span=self.expert_epochs,
            start_from=starts.start,
            start_before=starts.stop,
            generator=rng.stream("expert"),
        )
        steps = draw_steps(
            rng,
            problem.augment,
            images=len(state.images),
            steps=self.student_steps,
            batch_size=self.batch_syn,
            device=problem.device,
            texture=problem.texture,
        )
        return segment.to(state.images), steps

    def advance(self, problem: Problem, state: LearnableSet, rng: Randomness) -> None:  # noqa: B027 (is to do nothing)
        """Nothing: the student is new in every iteration."""

    def export(self, problem: Problem, state: LearnableSet) -> SyntheticSet:
        """Return images, one-hot targets and the learned step size."""
        return state.freeze()

    def variants(self, problem: Problem, state: LearnableSet) -> dict[str, SyntheticSet]:
        """Return the averaged set, where one is kept."""
        return {"averaged": state.averaged()} if isinstance(state, AveragedSet) else {}


def _match(
    problem: Problem, argument: tuple[SegmentMatching, LearnableSet, Randomness]
) -> tuple[Metrics, TensorGradients]:
    """Return what one segment gives."""
    method, state, stream = argument
    return method.match(problem, state, stream)


def _mean(each: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of every entry; a single one as it is."""
    if len(each) == 1:
        return each[0]
    return {name: torch.stack([one[name] for one in each]).mean(0) for name in each[0]}
