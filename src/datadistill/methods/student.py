"""How a student is trained on the set that is differentiated through that training; not a method itself."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from datadistill.core.randomness import Randomness
from datadistill.methods.base import Problem, Unrolled
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.unroll import Adam, Momentum, Steps, StudentOptimiser, draw_steps


@dataclass(frozen=True, kw_only=True)
class StudentTraining:
    """A student that goes through the set batch by batch.

    Attributes:
        batches: S, batches the set is cut into, each with as many images of every class; one is a step's.
        passes: E, passes over the batches.
        order: ``fixed``: the same batches in the same order in every pass, which belong to the set; ``shuffled``:
            others in every pass and iteration, so that the set serves in any order.
        step_sizes: ``per-step``: T of them, one for every step of all passes; ``shared``: one.
        student_lr: Step sizes before the first iteration, > 0.
        optimiser: Of the student: ``sgd``, ``momentum`` or ``adam``. A fixed order is for ``sgd`` alone.
        student_momentum: Of ``momentum``, in [0, 1).
        window: Steps that are differentiated, at most T, before an end that lies anywhere; absent for all.
        window_start: The step that the window begins at; absent for a random one in every iteration.
    """

    batches: int = 10
    passes: int = 3
    order: Literal["fixed", "shuffled"] = "fixed"
    step_sizes: Literal["per-step", "shared"] = "per-step"
    student_lr: float = 0.02
    optimiser: Literal["sgd", "momentum", "adam"] = "sgd"
    student_momentum: float = 0.9
    window: int | None = None
    window_start: int | None = None

    def __post_init__(self) -> None:
        if min(self.batches, self.passes) < 1:
            raise ValueError(f"batches and passes must be at least 1, got {self.batches} and {self.passes}")
        if not self.student_lr > 0:
            raise ValueError(f"student_lr must be positive, got {self.student_lr}")
        if not 0 <= self.student_momentum < 1:
            raise ValueError(f"student_momentum must be in [0, 1), got {self.student_momentum}")
        if self.optimiser != "sgd" and self.order == "fixed":
            raise ValueError(
                f"order: what belongs to a fixed order is trained by plain steps, optimiser '{self.optimiser}' is for "
                "'shuffled'"
            )
        if self.window is not None and not 1 <= self.window <= self.steps:
            raise ValueError(f"window must be in 1 to {self.steps}, the steps of a student, got {self.window}")
        if self.window_start is not None and not 0 <= self.window_start <= self.steps - (self.window or self.steps):
            raise ValueError(
                f"window_start must leave room for a window in {self.steps} steps, got {self.window_start}"
            )

    @property
    def steps(self) -> int:
        """T, steps of a student."""
        return self.batches * self.passes

    @property
    def unrolled(self) -> Unrolled:
        """T steps on one of S batches."""
        vectors = 1 if self.rule is None else self.rule.vectors
        return Unrolled(
            self.steps, parts=self.batches, window=self.window, vectors=vectors, ordered=self.order == "fixed"
        )

    @property
    def rule(self) -> StudentOptimiser | None:
        """How the student follows its gradients; absent for plain SGD."""
        if self.optimiser == "sgd":
            return None
        return Adam() if self.optimiser == "adam" else Momentum(self.student_momentum)

    def first_step_sizes(self, problem: Problem) -> Tensor:
        """Return the step sizes before the first iteration.

        Raises:
            ValueError: If the images of a class cannot be cut into ``batches``.
        """
        _ = self.rows(problem)
        count = self.steps if self.step_sizes == "per-step" else 1
        return torch.full((count,), self.student_lr, dtype=problem.initial_images.dtype, device=problem.device)

    def rows(self, problem: Problem) -> Int64[Tensor, "s b"]:
        """Return the rows of each batch of a fixed order: as many images of every class."""
        n, k = problem.initial_targets.shape
        if n % (k * self.batches):
            raise ValueError(f"{n // k} images of a class cannot be cut into {self.batches} batches of equal size")
        return torch.arange(n).view(k, self.batches, -1).transpose(0, 1).flatten(1)

    def draw(self, problem: Problem, rng: Randomness) -> Steps:
        """Return what each step trains on, up to the end of the window."""
        n, rows = len(problem.initial_images), self.rows(problem)
        return draw_steps(
            rng,
            problem.augment,
            images=n,
            steps=self._end(rng),
            batch_size=n // self.batches,
            device=problem.device,
            texture=problem.texture,
            order=rows if self.order == "fixed" and self.batches > 1 else None,
        )

    def _end(self, rng: Randomness) -> int:
        if self.window is None:
            return self.steps
        if self.window_start is not None:
            return self.window_start + self.window
        starts = self.steps - self.window + 1
        return self.window + int(torch.randint(starts, (), generator=rng.stream("window")))

    def scheduled(self, problem: Problem, synthetic: SyntheticSet) -> SyntheticSet:
        """Return a set with the rows and the step size of every step, or in any order with what then still holds.

        The step size of Adam is none for the steps that networks are evaluated with.
        """
        lr = synthetic.student_lr
        if self.order == "shuffled":
            return replace(synthetic, student_lr=None if self.optimiser == "adam" else lr)
        order = self.rows(problem).repeat(self.passes, 1).to(problem.device)
        return replace(synthetic, student_lr=None if lr is None else lr.expand(self.steps).clone(), order=order)
