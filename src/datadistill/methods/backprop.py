"""Dataset Distillation by back-propagation through training: Wang, Zhu, Torralba, Efros, 2018, arXiv:1811.10959.

In the paper's symbols, with S batches of synthetic images, E passes over them, T = S·E and n networks::

    x̃ ~ N(0, 1), η̃ ← η̃₀
    in every iteration:
        get a batch x of real images
        for each of n initial weights θ₀ ~ p(θ₀):
            for t = 0 … T−1:
                θ_{t+1} ← θ_t − η̃_t ∇ℓ(x̃_{t mod S}, θ_t)
            L ← ℓ(x, θ_T)
        descend on the mean of L with respect to x̃ and η̃

Differences from the reference implementation (SsnL/dataset-distillation, train_distilled_image.py):

* The gradient is the same, but the adjoint keeps one step's graph; the reference keeps all T, cut apart.
* Real batches come from shuffled passes without their incomplete last batch.
* The outer step size drops by the number of iterations, not of passes over the real data.
* Batch norm uses the statistics of each batch, of the real one as well; the reference knows no batch norm.
* Two classes have two logits; the reference has one logit for them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from datadistill.augment import Augment, build_augment
from datadistill.core.arrays import Images, Params, Targets
from datadistill.core.randomness import Randomness
from datadistill.losses.real import RealLoss
from datadistill.methods.base import Metrics, Need, Problem, TensorGradients, Unrolled
from datadistill.methods.draws import InitialWeights, check_classes, draw_real_loss, draw_starts
from datadistill.methods.student import StudentTraining
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.learnable import Rates
from datadistill.synthetic.rules import Drops, Rule
from datadistill.synthetic.step_sizes import SoftLabelledSoftplusSet, SoftplusSet
from datadistill.unroll import Gradients, MeanGradients, Steps

_BETAS = (0.5, 0.999)  # of the outer Adam
_CERTAINTY = 0.9  # of the first labels, where they are learned: a softmax is never 1


@dataclass(frozen=True, kw_only=True)
class BackProp(StudentTraining):
    """The loss on real images of networks that were trained on the synthetic ones, and nothing else.

    Attributes:
        image_lr: Step size of Adam for the pixels.
        student_lr_lr: Step size of Adam for what a softplus makes the step sizes of; absent for ``image_lr``.
        label_lr: Step size of Adam for the logits of the labels; absent for hard labels.
        decay_every: Iterations after which all these are multiplied by ``decay_factor``, again and again; absent for
            never.
        decay_factor: In (0, 1].
        clip: The multiple of its usual norm, a moving average, that a gradient is cut to; absent for never.
        batch_real: Real images in the loss.
        real_augment: Augmentation of the real images; that of the run is for the synthetic ones.
        initial_weights: ``random``: new in every iteration; ``fixed``: the same in all, drawn from the seed;
            ``teachers``: of so many of the run's teachers.
        networks: n, networks per iteration.
        attack_class: Class whose real images the loss takes for those of ``target_class``; absent for none.
        target_class: See there.
    """

    image_lr: float = 0.01
    student_lr_lr: float | None = None
    label_lr: float | None = None
    decay_every: int | None = None
    decay_factor: float = 0.5
    clip: float | None = None
    batch_real: int = 1024
    real_augment: str = "none"
    initial_weights: InitialWeights = "random"
    networks: int = 1
    attack_class: int | None = None
    target_class: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.batch_real, self.networks) < 1:
            raise ValueError(f"batch_real and networks must be at least 1, got {self.batch_real}, {self.networks}")
        if not (self.image_lr > 0 and (self.student_lr_lr or 0) >= 0 and (self.label_lr or 0) >= 0):
            raise ValueError(
                "image_lr must be positive, student_lr_lr and label_lr not negative, got "
                f"{self.image_lr}, {self.student_lr_lr}, {self.label_lr}"
            )
        if (self.decay_every is not None and self.decay_every < 1) or not 0 < self.decay_factor <= 1:
            raise ValueError(
                f"decay_every must be at least 1, decay_factor in (0, 1], got {self.decay_every}, {self.decay_factor}"
            )
        if self._real_augment.mixes:
            raise ValueError(f"real_augment: '{self.real_augment}' mixes targets; real images keep theirs")
        if (self.attack_class is None) != (self.target_class is None) or (
            self.attack_class is not None and self.attack_class == self.target_class
        ):
            raise ValueError("attack_class and target_class go together, and are two")
        if self.attack_class is not None and self.initial_weights != "teachers":
            raise ValueError("attack_class: attacked are trained networks; set initial_weights = 'teachers'")

    @property
    def needs(self) -> frozenset[Need]:
        """Teachers, where networks start as those."""
        return frozenset({"teachers"} if self.initial_weights == "teachers" else ())

    @property
    def expert_epochs_needed(self) -> int:
        """There are no experts."""
        return 0

    @property
    def unrolled(self) -> Unrolled:
        """T steps on one of S batches, for every network."""
        return replace(super().unrolled, trainings=self.networks, real_batch=self.batch_real)

    @property
    def variant_names(self) -> tuple[str, ...]:
        """None."""
        return ()

    def init(self, problem: Problem, rng: Randomness) -> SoftplusSet:
        """Return the initial images with a step size for every step.

        Raises:
            ValueError: If the images of a class cannot be cut into ``batches``.
            UsageError: If there is no such class to attack.
        """
        check_classes(problem, attack_class=self.attack_class, target_class=self.target_class)
        rates, sizes = self._rates(problem), self.first_step_sizes(problem)
        if self.label_lr is None:
            return SoftplusSet(problem.initial_images, problem.initial_targets, rates, sizes)
        return SoftLabelledSoftplusSet(problem.initial_images, _logits(problem.initial_targets), rates, sizes)

    def gradient(self, problem: Problem, state: SoftplusSet, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the mean loss of ``networks`` networks on one real batch, and its gradients."""
        loss = draw_real_loss(problem, rng, batch=self.batch_real, augment=self._real_augment)
        if self.attack_class is not None and self.target_class is not None:
            loss = loss.taking(self.attack_class, self.target_class)
        steps, starts = (
            self.draw(problem, rng),
            draw_starts(problem, rng, kind=self.initial_weights, count=self.networks),
        )
        lr = state.student_lr if self.step_sizes == "shared" else state.student_lr[: len(steps)]
        training = (state.images, state.targets, lr, steps, loss)
        if problem.spread is None:
            found = problem.require_unroll().mean(tuple(starts), *training, window=self.window, optimiser=self.rule)
        else:
            found = MeanGradients.of(problem.each(_train, [(self, start, training) for start in starts]))
        on_lr = F.pad(found.student_lr, (0, len(state.student_lr) - len(lr)))  # steps after the window have none
        gradients = {"images": found.images, "raw_student_lr": state.through_softplus(on_lr)}
        if isinstance(state, SoftLabelledSoftplusSet):
            gradients["label_logits"] = state.through_softmax(found.targets)
        metrics = {"real_loss": found.loss, "student_lr": state.student_lr.mean()}
        if self.window is not None:
            metrics["end_step"] = found.loss.new_tensor(len(steps))
        return metrics, gradients

    def advance(self, problem: Problem, state: SoftplusSet, rng: Randomness) -> None:
        """Nothing: every network is trained within one iteration."""

    def export(self, problem: Problem, state: SoftplusSet) -> SyntheticSet:
        """Return images and targets, with the rows and the step size of every step where the order is fixed."""
        return self.scheduled(problem, state.freeze())

    def variants(self, problem: Problem, state: SoftplusSet) -> dict[str, SyntheticSet]:
        """Return none."""
        return {}

    @cached_property
    def _real_augment(self) -> Augment:
        return build_augment(self.real_augment)

    def _rates(self, problem: Problem) -> Rates:
        if self.decay_every is None:
            drops = None
        elif problem.iterations is None:
            raise ValueError("decay_every needs to know how many iterations there are")
        else:
            drops = Drops(tuple(range(self.decay_every, problem.iterations, self.decay_every)), self.decay_factor)
        images = Rule(lr=self.image_lr, optimiser="adam", betas=_BETAS, schedule=drops, clip=self.clip)
        lr = self.image_lr if self.student_lr_lr is None else self.student_lr_lr
        labels = None if self.label_lr is None else replace(images, lr=self.label_lr)
        return Rates(images=images, raw_student_lr=replace(images, lr=lr), label_logits=labels)


def _train(
    problem: Problem, argument: tuple[BackProp, Params, tuple[Images, Targets, Tensor, Steps, RealLoss]]
) -> Gradients:
    """Return what one network gives."""
    method, start, training = argument
    return problem.require_unroll()(start, *training, window=method.window, optimiser=method.rule)


def _logits(targets: Targets) -> Tensor:
    """Return logits of distributions that are all but certain of hard labels."""
    others = (1 - _CERTAINTY) / (targets.shape[1] - 1)
    return torch.log(targets * (_CERTAINTY - others) + others)
