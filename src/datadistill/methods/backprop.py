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
from jaxtyping import Int64
from torch import Tensor

from datadistill.augment import Augment, build_augment
from datadistill.core.randomness import Randomness
from datadistill.methods.base import Metrics, Need, Problem, TensorGradients, Unrolled
from datadistill.methods.draws import InitialWeights, draw_real_loss, draw_starts
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.learnable import Rates
from datadistill.synthetic.rules import Drops, Rule
from datadistill.synthetic.step_sizes import SoftplusSet
from datadistill.unroll import draw_steps

_BETAS = (0.5, 0.999)  # of the outer Adam


@dataclass(frozen=True, kw_only=True)
class BackProp:
    """The loss on real images of networks that were trained on the synthetic ones, and nothing else.

    Attributes:
        batches: S, batches the set is cut into, each with as many images of every class; one is a step's.
        passes: E, passes over the batches in their order, with step sizes of their own.
        student_lr: η̃ of every step before the first iteration, > 0.
        image_lr: Step size of Adam for the pixels.
        student_lr_lr: Step size of Adam for what a softplus makes η̃ of; absent for ``image_lr``.
        decay_every: Iterations after which both step sizes are multiplied by ``decay_factor``, again and again; absent
            for never.
        decay_factor: In (0, 1].
        batch_real: Real images in the loss.
        real_augment: Augmentation of the real images; that of the run is for the synthetic ones.
        initial_weights: ``random``: new in every iteration; ``fixed``: the same in all, drawn from the seed.
        networks: n, networks per iteration.
    """

    batches: int = 10
    passes: int = 3
    student_lr: float = 0.02
    image_lr: float = 0.01
    student_lr_lr: float | None = None
    decay_every: int | None = None
    decay_factor: float = 0.5
    batch_real: int = 1024
    real_augment: str = "none"
    initial_weights: InitialWeights = "random"
    networks: int = 1

    def __post_init__(self) -> None:
        if min(self.batches, self.passes, self.batch_real, self.networks) < 1:
            raise ValueError("batches, passes, batch_real and networks must be at least 1")
        if not (self.student_lr > 0 and self.image_lr > 0 and (self.student_lr_lr or 0) >= 0):
            raise ValueError(
                "student_lr and image_lr must be positive, student_lr_lr not negative, got "
                f"{self.student_lr}, {self.image_lr}, {self.student_lr_lr}"
            )
        if (self.decay_every is not None and self.decay_every < 1) or not 0 < self.decay_factor <= 1:
            raise ValueError(
                f"decay_every must be at least 1, decay_factor in (0, 1], got {self.decay_every}, {self.decay_factor}"
            )
        if self._real_augment.mixes:
            raise ValueError(f"real_augment: '{self.real_augment}' mixes targets; real images keep theirs")

    @property
    def needs(self) -> frozenset[Need]:
        """Nothing."""
        return frozenset()

    @property
    def expert_epochs_needed(self) -> int:
        """There are no experts."""
        return 0

    @property
    def steps(self) -> int:
        """T, steps of a network."""
        return self.batches * self.passes

    @property
    def unrolled(self) -> Unrolled:
        """T steps on one of S batches, for every network."""
        return Unrolled(self.steps, trainings=self.networks, parts=self.batches, real_batch=self.batch_real)

    @property
    def variant_names(self) -> tuple[str, ...]:
        """None."""
        return ()

    def init(self, problem: Problem, rng: Randomness) -> SoftplusSet:
        """Return the initial images with a step size for every step.

        Raises:
            ValueError: If the images of a class cannot be cut into ``batches``.
        """
        self._order(problem)
        student_lr = torch.full((self.steps,), self.student_lr, dtype=problem.initial_images.dtype)
        return SoftplusSet(problem.initial_images, problem.initial_targets, self._rates(problem), student_lr)

    def gradient(self, problem: Problem, state: SoftplusSet, rng: Randomness) -> tuple[Metrics, TensorGradients]:
        """Return the mean loss of ``networks`` networks on one real batch, and its gradients."""
        engine, student_lr, total = problem.require_unroll(), state.student_lr, dict[str, Tensor]()
        loss = draw_real_loss(problem, rng, batch=self.batch_real, augment=self._real_augment)
        steps = draw_steps(
            rng,
            problem.augment,
            images=len(state.images),
            steps=self.steps,
            batch_size=None,
            device=problem.device,
            texture=problem.texture,
            order=self._order(problem),
        )
        for start in draw_starts(problem, rng, kind=self.initial_weights, count=self.networks):
            found = engine(start, state.images, state.targets, student_lr, steps, loss)
            for name in ("loss", "images", "student_lr"):
                value = getattr(found, name) / self.networks
                total[name] = total[name] + value if name in total else value
        metrics = {"real_loss": total["loss"], "student_lr": student_lr.mean()}
        return metrics, {"images": total["images"], "raw_student_lr": state.through_softplus(total["student_lr"])}

    def advance(self, problem: Problem, state: SoftplusSet, rng: Randomness) -> None:
        """Nothing: every network is trained within one iteration."""

    def export(self, problem: Problem, state: SoftplusSet) -> SyntheticSet:
        """Return images and targets, with the rows and the step size of every step."""
        order = self._order(problem).repeat(self.passes, 1).to(problem.device)
        return replace(state.freeze(), order=order)

    def variants(self, problem: Problem, state: SoftplusSet) -> dict[str, SyntheticSet]:
        """Return none."""
        return {}

    @cached_property
    def _real_augment(self) -> Augment:
        return build_augment(self.real_augment)

    def _order(self, problem: Problem) -> Int64[Tensor, "s b"]:
        """Return the rows of each batch: as many images of every class."""
        n, k = problem.initial_targets.shape
        if n % (k * self.batches):
            raise ValueError(f"{n // k} images of a class cannot be cut into {self.batches} batches of equal size")
        return torch.arange(n).view(k, self.batches, -1).transpose(0, 1).flatten(1)

    def _rates(self, problem: Problem) -> Rates:
        if self.decay_every is None:
            drops = None
        elif problem.iterations is None:
            raise ValueError("decay_every needs to know how many iterations there are")
        else:
            drops = Drops(tuple(range(self.decay_every, problem.iterations, self.decay_every)), self.decay_factor)
        images = Rule(lr=self.image_lr, optimiser="adam", betas=_BETAS, schedule=drops)
        lr = self.image_lr if self.student_lr_lr is None else self.student_lr_lr
        return Rates(images=images, raw_student_lr=replace(images, lr=lr))
