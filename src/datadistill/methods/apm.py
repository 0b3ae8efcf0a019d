"""Adversarial Prediction Matching (APM): Chen et al., 2023, arXiv:2312.08912.

::

    x ← real images; T ← a network trained on the real set
    repeat:
        every refresh_every updates:
            draw a teacher T; b ← rows of x
            train a fresh student on (A(x_b), T(x_b)) for E epochs, by the L1 distance of logits
            S_1 … S_K ← the student after E/K, 2E/K, … E epochs
        b ← rows of x
        L ← −Σ_k ‖S_k(x_b) − T(x_b)‖₁ + λ CE(T(x_b), y_b)
        descend on L with respect to x

Students minimise the distance of the predictions, images maximise it: an image moves to where students that have
learned from the set are still wrong about it, as far as the teacher still sees its class in it. No graph is deeper than
one pass.

The set is labelled by the logits of a teacher. The same images with hard labels are a variant, judged beside it.

Differences from the reference implementation (mchen725/DD_APM, distill.py):

* The teacher is asked once per image and update, for all terms: K + 1 passes and their backward passes where 2K + 1
  were. As there, one student at a time has a graph.
* Students are renewed every ``refresh_every`` updates; ``--mid_gap m`` of the reference is ``refresh_every = m + 1``.
* E epochs with K snapshots, the last at the end; the reference runs E + 1, with K + 1 snapshots where K does not divide
  E.
* The final labels are the mean logits of the first ``label_teachers`` teachers; the reference draws one in every
  evaluation, which stays the teacher of the round.
* Where ``batch_syn`` is set, images without a gradient are moved by their momentum when they are next used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datadistill.core.arrays import Images, Targets
from datadistill.core.randomness import Randomness
from datadistill.experts import Teacher
from datadistill.methods.base import FORWARDS_PER_GRADIENT, Metrics, Need, Problem, TensorGradients, WithoutStudents
from datadistill.networks import FlatNetwork
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.lazy import LazySet
from datadistill.synthetic.learnable import Rates
from datadistill.synthetic.rules import Drops, Rule
from datadistill.training.fit import Examples, Fitted, fit
from datadistill.training.schedules import TrainingRecipe


@dataclass(frozen=True, kw_only=True)
class APM(WithoutStudents):
    """Adversarial prediction matching.

    Attributes:
        image_lr: Step size of the pixels.
        momentum: Of the pixels, in [0, 1).
        decay: What the step size is multiplied by after half of the iterations, positive; 1 for a constant one.
        recognition: λ, weight of the teacher's cross-entropy on the images, not negative.
        batch_syn: Images that an iteration moves; absent for the whole set.
        chunk: Images differentiated at once; absent for all of these. Changes memory, not the result.
        refresh_every: Updates between two renewals of the students, at least 1.
        snapshots: K, students per renewal, at least 1.
        student_epochs: E, epochs of a student; a multiple of K.
        student_lr: Step size of the student, > 0; a tenth of it in the second half of its epochs.
        student_batch: Images per step of the student.
        student_loss: What a student learns from: ``l1``: the logits of the teacher; ``ce``: its probabilities.
        label_teachers: Teachers whose mean logits label the set, at least 1.
    """

    image_lr: float = 1.0
    momentum: float = 0.5
    decay: float = 0.3
    recognition: float = 0.1
    batch_syn: int | None = None
    chunk: int | None = None
    refresh_every: int = 3
    snapshots: int = 5
    student_epochs: int = 250
    student_lr: float = 0.02
    student_batch: int = 256
    student_loss: Literal["l1", "ce"] = "l1"
    label_teachers: int = 1

    def __post_init__(self) -> None:
        counts = (self.refresh_every, self.snapshots, self.label_teachers, self.batch_syn, self.chunk)
        if min(count for count in counts if count is not None) < 1:
            raise ValueError("refresh_every, snapshots, label_teachers, batch_syn and chunk must be at least 1")
        if self.student_epochs < 1 or self.student_epochs % self.snapshots:
            raise ValueError(
                f"student_epochs must be a multiple of snapshots, got {self.student_epochs} and {self.snapshots}"
            )
        if not (self.image_lr > 0 and self.decay > 0 and self.recognition >= 0 and 0 <= self.momentum < 1):
            raise ValueError(
                "image_lr and decay must be positive, recognition not negative, momentum in [0, 1): got "
                f"{self.image_lr}, {self.decay}, {self.recognition} and {self.momentum}"
            )
        _ = self.student_training  # refuses what is out of range

    @property
    def needs(self) -> frozenset[Need]:
        """Teachers."""
        return frozenset({"teachers"})

    @property
    def variant_names(self) -> tuple[str, ...]:
        """The same images with hard labels."""
        return ("hard_labels",)

    @property
    def student_training(self) -> TrainingRecipe:
        """How a student is trained."""
        return TrainingRecipe(
            epochs=self.student_epochs,
            batch_size=self.student_batch,
            lr=self.student_lr,
            momentum=0.9,
            weight_decay=5e-4,
            schedule="step",
        )

    def forwards(self, images: int, classes: int) -> int:
        """Teacher and K students give the gradient of the images, not of their weights; students are trained."""
        batch = min(self.batch_syn or images, images)
        trained = batch * self.student_epochs // self.refresh_every
        return 2 * (self.snapshots + 1) * batch + FORWARDS_PER_GRADIENT * trained

    def init(self, problem: Problem, rng: Randomness) -> "Round":
        """Return the initial images; students are trained by :meth:`advance`."""
        half = Drops(((problem.iterations or 0) // 2,), self.decay) if self.decay != 1 else None
        rule = Rule(lr=self.image_lr, momentum=self.momentum, schedule=half)
        return Round(problem.initial_images, problem.initial_targets, rule, problem.network, self.snapshots)

    def gradient(self, problem: Problem, state: "Round", rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the objective on a batch of the set, and its gradient, sparse where the batch is not the set."""
        rows = self._rows(len(state.current), rng, problem.device)
        every = torch.arange(len(state.current), device=problem.device) if rows is None else rows
        images, targets = state.rows(every), state.targets[every]
        gradient, sums = torch.empty_like(images), torch.zeros(2, dtype=images.dtype, device=images.device)
        teacher = self._teacher(problem, state)
        for part in _chunks(len(images), self.chunk):
            share = len(images[part]) / len(images)
            pulled, terms = self._pulled(problem.network, teacher, state, images[part], targets[part])
            gradient[part] = share * pulled
            sums += share * terms
        metrics = {"disagreement": sums[0] / self.snapshots, "teacher_loss": sums[1]}
        metrics["objective"] = self.recognition * sums[1] - sums[0]
        if rows is None:
            return metrics, {"images": gradient}
        size = (len(state.current), *images.shape[1:])
        return metrics, {"images": torch.sparse_coo_tensor(rows[None], gradient, size, check_invariants=False)}

    def _pulled(
        self, network: FlatNetwork, teacher: Teacher, state: "Round", images: Images, targets: Targets
    ) -> tuple[Images, Tensor]:
        """Return the gradient of the images; and Σ_k ‖S_k(x) − T(x)‖₁ and CE(T(x), y)."""
        x = images.detach().requires_grad_()
        seen = teacher(x)
        logits = seen.detach().requires_grad_()  # where the graphs of students end, so that one after another is freed
        recognised = F.cross_entropy(logits, targets)
        (upon,) = torch.autograd.grad(self.recognition * recognised, logits)
        pulled, apart = torch.zeros_like(images), torch.zeros_like(recognised)
        for params, statistics in zip(state.students, state.statistics, strict=True):
            distance = F.l1_loss(network(params, x, statistics), logits)
            of_images, of_logits = torch.autograd.grad(-distance, (x, logits))
            pulled, upon, apart = pulled + of_images, upon + of_logits, apart + distance.detach()
        (of_teacher,) = torch.autograd.grad(seen, x, upon)
        return pulled + of_teacher, torch.stack([apart, recognised.detach()])

    def advance(self, problem: Problem, state: "Round", rng: Randomness) -> None:
        """Draw a teacher and train new students for the next iteration, where they are due."""
        if rng.iteration % self.refresh_every:
            return
        ahead = rng.at(rng.iteration + 1)
        state.teacher.fill_(int(torch.randint(len(problem.require_teachers()), (), generator=rng.stream("teacher"))))
        rows = self._rows(len(state.current), ahead, problem.device)
        images = state.images if rows is None else state.rows(rows)
        logits = self._teacher(problem, state).logits_of(images)
        targets = logits if self.student_loss == "l1" else logits.softmax(1)
        criterion = F.l1_loss if self.student_loss == "l1" else F.cross_entropy
        examples = Examples(images, targets, criterion=criterion)
        start = problem.network.initial(rng.stream("student/initial weights")).to(images)
        first, stream = Fitted.start(problem.network, start), rng.child("student")
        apart = self.student_epochs // self.snapshots
        setting = first, examples, self.student_training, problem.augment, stream
        for student in fit(problem.network, *setting, compiled=problem.compiled):
            if student.epoch % apart == 0:
                number = student.epoch // apart - 1
                state.students[number].copy_(student.params)
                state.statistics[number].copy_(student.statistics)

    def export(self, problem: Problem, state: "Round") -> SyntheticSet:
        """Return the images with the mean logits of the first teachers, or their probabilities with ``ce``."""
        images, teachers = state.images, problem.require_teachers().teachers[: self.label_teachers]
        logits = torch.stack([teacher.logits_of(images) for teacher in teachers]).mean(0)
        if self.student_loss == "ce":
            return SyntheticSet(images, logits.softmax(1))
        return SyntheticSet(images, logits, logits=True)

    def variants(self, problem: Problem, state: "Round") -> dict[str, SyntheticSet]:
        """Return the images with hard labels."""
        return {"hard_labels": state.freeze()}

    def _teacher(self, problem: Problem, state: "Round") -> Teacher:
        return problem.require_teachers().teachers[int(state.teacher)]

    def _rows(self, images: int, rng: Randomness, device: torch.device) -> Tensor | None:
        """Return the rows of an iteration; None for all."""
        if self.batch_syn is None or self.batch_syn >= images:
            return None
        return torch.randperm(images, generator=rng.stream("rows"))[: self.batch_syn].to(device)


class Round(LazySet):
    """A learned set with the students of the round, and the number of their teacher."""

    def __init__(self, images: Images, targets: Targets, rule: Rule, network: FlatNetwork, students: int) -> None:
        super().__init__(images, targets, Rates(images=rule))
        self.students = images.new_zeros(students, network.parameter_count)
        self.statistics = images.new_zeros(students, network.statistics_count)
        self.teacher = torch.zeros((), dtype=torch.int64)  # on the CPU, where no device has to be waited for

    def tensors(self) -> dict[str, Tensor]:
        """Return what the set remembers, and the round."""
        return {**super().tensors(), "students": self.students, "statistics": self.statistics, "teacher": self.teacher}


def _chunks(images: int, size: int | None) -> Iterator[slice]:
    for first in range(0, images, size or images):
        yield slice(first, first + (size or images))
