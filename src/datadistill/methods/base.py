"""What a method is: a value with ``init``, ``gradient``, ``advance`` and ``export``, and nothing else.

A method gives gradients; it does not descend. ``step`` adds the gradients of the method and of the terms,
updates the set, and lets the method advance its own networks. It is written once, here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from datadistill.augment import Augment
from datadistill.core.arrays import Images, Scalar, Targets
from datadistill.core.randomness import Randomness
from datadistill.core.resumable import Resumable
from datadistill.data import Preprocess, RealData
from datadistill.data.sampling import Rows, rows_by_class
from datadistill.experts import ExpertStore, TeacherPool
from datadistill.networks import FlatNetwork
from datadistill.runtime.executor import Spread
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.texture import Texture
from datadistill.training.looking import LOOKED_AT
from datadistill.unroll import Unroll

A = TypeVar("A")
B = TypeVar("B")

Metrics = dict[str, Scalar]
"""Zero-dimensional, detached, still on the device: the loop decides when to read."""

UPDATE_TAKEN = "update_taken"
"""Metric of a method that may refuse an update: with 0 the state stays as it is, and only counts of updates go on."""

TensorGradients = dict[str, Tensor]
"""Gradient per learned tensor of the state: ``images``, ``targets``, ``student_lr``."""

Need = Literal["experts", "teachers"]

Term = Callable[[Images, Targets, Randomness], tuple[Scalar, TensorGradients]]
"""An addition to any method's objective: ``(images, targets, rng) -> (value, gradients)``.

Prepared by the stage: whatever it needs (teachers, class sums) is inside it."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Everything a method may look at, and nothing it may change.

    Attributes:
        data: The real data, on the device.
        preprocess: Maps bytes to network space.
        network: The student.
        augment: The augmentation of student steps, or of whatever the method augments.
        texture: How the synthetic images are seen, where they are canvases.
        initial_images: First synthetic images, ``[n c h w]``.
        initial_targets: Their one-hot targets, ``[n k]``.
        unroll: The differentiable-training engine, set up by the plan; for methods that unroll.
        experts: Trajectories; for methods that need them.
        teachers: Trained networks; for methods and terms that need them.
        source: The set the teachers were trained on, where that is another one, with its own map to network space.
        terms: Additions to the objective, by name.
        iterations: Outer iterations of the run, for step sizes that change over it; absent where none does.
        spread: Does independent tasks on the problem, one after another or by workers that hold it: see :meth:`each`.
        compiled: Whether methods without ``unroll`` compile the steps they repeat, or capture them on a GPU.
    """

    data: RealData
    preprocess: Preprocess
    network: FlatNetwork
    augment: Augment
    initial_images: Images
    initial_targets: Targets
    texture: Texture | None = None
    unroll: Unroll | None = None
    experts: ExpertStore | None = None
    teachers: TeacherPool | None = None
    source: tuple[RealData, Preprocess] | None = None
    terms: Mapping[str, Term] = field(default_factory=dict)
    iterations: int | None = None
    spread: Spread | None = None
    compiled: bool = False

    def each(self, task: Callable[["Problem", A], B], arguments: Sequence[A]) -> list[B]:
        """Return ``task(problem, argument)`` for every argument, in order, whoever does it.

        Task and arguments must be picklable, and the task must not change the problem.
        """
        if self.spread is None:
            return [task(self, argument) for argument in arguments]
        return self.spread(task, arguments)

    @property
    def device(self) -> torch.device:
        """Where everything lives."""
        return self.initial_images.device

    @cached_property
    def real_rows(self) -> list[Rows]:
        """Rows of the training images of each class, on the CPU, where they are drawn."""
        return rows_by_class(self.data.train.labels.cpu(), self.data.classes)

    @cached_property
    def _labels_in_order(self) -> bool:
        """Whether the classes of the set lie one after another, with as many images each. Waits for the device."""
        labels, k = self.initial_targets.argmax(1), self.data.classes
        expected = torch.arange(k, device=labels.device).repeat_interleave(len(labels) // k)
        return torch.equal(labels, expected)

    def class_parts(self, rows: Tensor) -> Sequence[Tensor]:
        """Return what there is per image of the synthetic set by class, as views.

        Raises:
            ValueError: If its classes do not lie one after another, with as many images each.
        """
        if not self._labels_in_order:
            raise ValueError("this method needs a set sorted by class, with as many images of each")
        parts: Sequence[Tensor] = rows.split(len(rows) // self.data.classes)
        return parts

    def require_experts(self) -> ExpertStore:
        """Return the experts.

        Raises:
            ValueError: If the problem was set up without any.
        """
        if self.experts is None:
            raise ValueError("this method needs experts, and the problem has none")
        return self.experts

    def require_teachers(self) -> TeacherPool:
        """Return the teachers.

        Raises:
            ValueError: If the problem was set up without any.
        """
        if self.teachers is None:
            raise ValueError("this needs teachers, and the problem has none")
        return self.teachers

    def require_unroll(self) -> Unroll:
        """Return the engine.

        Raises:
            ValueError: If the problem was set up without one.
        """
        if self.unroll is None:
            raise ValueError("this method differentiates through training, and the problem has no engine")
        return self.unroll


@runtime_checkable
class SetState(Resumable, Protocol):
    """State of a method: resumable, and able to take a gradient step on its synthetic set."""

    @property
    def images(self) -> Images:
        """The synthetic images."""
        ...

    @property
    def targets(self) -> Targets:
        """Their targets."""
        ...

    def update(self, gradients: TensorGradients) -> None:
        """Take one optimiser step on the learned tensors."""
        ...


FORWARDS_PER_GRADIENT = 3
"""Operations of a network's gradient, in forward passes."""

FORWARDS_PER_REVERSE = 12
"""Operations of a gradient and of one through it: a student's step and its adjoint, in forward passes."""


class WithoutStudents(ABC):
    """What methods have in common that differentiate through no training and need no experts."""

    @abstractmethod
    def forwards(self, images: int, classes: int) -> int:
        """Return the operations of an iteration with ``images`` synthetic images, in forward passes of one image."""

    @property
    def expert_epochs_needed(self) -> int:
        """No expert is needed."""
        return 0

    @property
    def unrolled(self) -> "Unrolled | None":
        """Nothing is differentiated through training."""
        return None


@dataclass(frozen=True)
class Unrolled:
    """How far a method differentiates through training; what the plan needs to know beforehand.

    Attributes:
        steps: Student steps.
        batch_size: Synthetic images per step; ``None`` for the whole set.
        trainings: Students per iteration, one after another.
        parts: Where there is no ``batch_size``: even parts of the set, one of which is a batch.
        window: Steps that are differentiated, the last ones; absent for all.
        vectors: Weights of the student, and what its optimiser remembers of each.
        real_batch: Real images in the loss at the end point, at most; 0 where it looks at none.
        whole_images: Whether the method looks at the synthetic images outside the student's steps as well, so that they
            have to be images and not textures.
        ordered: Whether the set prescribes which rows each step uses, and its step size.
    """

    steps: int
    batch_size: int | None = None
    trainings: int = 1
    parts: int = 1
    window: int | None = None
    vectors: int = 1
    real_batch: int = 0
    whole_images: bool = False
    ordered: bool = False

    def batch(self, images: int) -> int:
        """Return how many of ``images`` synthetic images a step uses."""
        return min(self.batch_size or images // self.parts, images)

    @property
    def differentiated(self) -> int:
        """Steps that are differentiated."""
        return min(self.window or self.steps, self.steps)

    def looked_at(self, images: int) -> int:
        """Return how many of ``images`` the method looks at at once outside the student's steps."""
        return min(images, LOOKED_AT) if self.whole_images else 0


S = TypeVar("S", bound=SetState)


@runtime_checkable
class Method(Protocol[S]):
    """One algorithm over its own state. No loop, no file, no clock, no logger.

    The fields of the frozen dataclass that implements it are its hyper-parameters.
    """

    @property
    def needs(self) -> frozenset[Need]:
        """What must have been trained on real data beforehand."""
        ...

    @property
    def expert_epochs_needed(self) -> int:
        """Epochs an expert must have for this method; 0 without experts."""
        ...

    @property
    def unrolled(self) -> Unrolled | None:
        """How far it differentiates through training; ``None`` where it does not."""
        ...

    @property
    def variant_names(self) -> tuple[str, ...]:
        """Names of what :meth:`variants` returns: these sets are evaluated as well."""
        ...

    def init(self, problem: Problem, rng: Randomness) -> S:
        """Return the state before the first iteration; cheap, as it is called when a run is resumed as well."""
        ...

    def gradient(self, problem: Problem, state: S, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the value of the objective and its gradients at ``state``, which is left as it is."""
        ...

    def advance(self, problem: Problem, state: S, rng: Randomness) -> None:
        """Train whatever networks the method carries along, after the update; most do nothing here.

        Called once more at iteration 0, before the first, where the networks of a new run are made.
        """
        ...

    def export(self, problem: Problem, state: S) -> SyntheticSet:
        """Return the synthetic set at ``state``, detached."""
        ...

    def variants(self, problem: Problem, state: S) -> dict[str, SyntheticSet]:
        """Return other sets that the method makes on the way, by name: ``averaged``. Most return none."""
        ...


def begin(method: Method[S], problem: Problem, rng: Randomness) -> S:
    """Return the state before the first iteration of a new run, with whatever networks it carries."""
    state = method.init(problem, rng.at(0))
    method.advance(problem, state, rng.at(0))
    return state


def step(method: Method[S], problem: Problem, state: S, rng: Randomness) -> Metrics:
    """Take one outer iteration: gradients of method and terms, update, advance. Return the metrics."""
    metrics, gradients = method.gradient(problem, state, rng)
    for name, term in problem.terms.items():
        metrics[name], extra = term(state.images, state.targets, rng.child("term", name))
        for tensor, gradient in extra.items():
            gradients[tensor] = gradients[tensor] + gradient if tensor in gradients else gradient
    _update(state, gradients, metrics.get(UPDATE_TAKEN))
    method.advance(problem, state, rng)
    return metrics


def _update(state: SetState, gradients: TensorGradients, taken: Scalar | None) -> None:
    """Update ``state``, unless ``taken`` is 0; nothing waits for the device to know."""
    if taken is None:
        state.update(gradients)
        return
    before = {name: tensor.clone() for name, tensor in state.tensors().items() if tensor.is_floating_point()}
    state.update(gradients)
    after = state.tensors()
    for name, tensor in before.items():
        after[name].copy_(torch.where(taken > 0, after[name], tensor))
