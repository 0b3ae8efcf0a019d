"""Train a student on the synthetic set by SGD and differentiate a scalar of the result, exactly.

With g_t = ∇_θ ℓ(θ_t, A_t(x), y), step sizes α_t and a scalar L of the parameters at the end point k:

    forward:   θ_{t+1} = θ_t − α_t g_t                          weights are kept, images are not
    at k:      λ = ∂L/∂θ_k
    reverse, t = k−1 … 0:   α_t.grad −= ⟨λ, g_t⟩
                            x.grad   −= α_t A_tᵀ(Mλ)
                            y.grad   −= α_t Yλ
                            λ        −= α_t Hλ

Strategy ``adjoint`` runs this; its memory does not grow with the number of steps but for the kept weights.
Strategy ``stored`` lets autograd keep the whole graph: a quarter less arithmetic, N times the memory. Eager, it
is the plain formulation, the oracle of the tests; compiled, it is the fastest. All are equal in float64.

With an optimiser that remembers something, θ_t becomes the state s_t = (θ_t, what is remembered), and the step
s_{t+1} = U_t(s_t, g_t, α_t). Its adjoint goes through U first, then through g:

    λ, γ, a ← λ ∂U_t/∂(s_t, g_t, α_t)
    α_t.grad += a      x.grad += A_tᵀ(Mγ)      y.grad += Yγ      λ += (Hγ, 0)

Plain SGD is the case U = θ − α g.

``truncated`` leaves out the last line of the first sweep: λ stays what it is at the end point, as if later weights did
not depend on earlier images. That is the rule of TESLA (Cui et al., ICML 2023). It is not the gradient and saves no
memory.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from datadistill.augment import Augment
from datadistill.core.arrays import Images, Params, Scalar, Targets
from datadistill.core.errors import UsageError
from datadistill.networks import FlatNetwork
from datadistill.unroll.kernels import StudentStep
from datadistill.unroll.optimisers import StudentOptimiser, initial_state, pull_back
from datadistill.unroll.steps import Steps
from datadistill.unroll.weights import KeptWeights

Strategy = Literal["adjoint", "stored"]
Loss = Callable[[Params], Scalar]


@runtime_checkable
class InParts(Protocol):
    """A loss that is a sum, whose parts are differentiated one after another: a part's graph is in memory."""

    def parts(self) -> Iterable[Loss]:
        """Return the parts."""
        ...


@dataclass(frozen=True)
class Gradients:
    """What one unrolled training gives back; all detached, on the device.

    Attributes:
        loss: The scalar at the end point.
        end_step: Student steps up to the end point, k.
        params: The student at the end point.
        images: ∂loss/∂images.
        targets: ∂loss/∂targets.
        student_lr: ∂loss/∂α, as many entries as α has.
    """

    loss: Scalar
    end_step: int
    params: Params
    images: Images
    targets: Targets
    student_lr: Tensor


@dataclass(frozen=True)
class MeanGradients:
    """What several students give back, in the mean; see :class:`Gradients`."""

    loss: Scalar
    images: Images
    targets: Targets
    student_lr: Tensor

    @classmethod
    def of(cls, found: Sequence[Gradients]) -> "MeanGradients":
        """Return the mean of at least one."""
        names = ("loss", "images", "targets", "student_lr")
        return cls(*(torch.stack([getattr(one, name) for one in found]).mean(0) for name in names))


@dataclass(frozen=True)
class _Training:
    """One student's training, decided beforehand and detached; ``truncated``: weights count as constants.

    What passes from step to step is the weights, or, with an ``optimiser``, a state whose first row they are. Several
    students at once have a stack of weights.
    """

    start: Float[Tensor, "*m p"]
    images: Images
    targets: Targets
    student_lr: Tensor
    steps: Steps
    truncated: bool = False
    optimiser: StudentOptimiser | None = None

    @property
    def initial(self) -> Tensor:
        """The state before the first step."""
        return self.start if self.optimiser is None else initial_state(self.optimiser, self.start)

    def params(self, state: Tensor) -> Params:
        """Return the weights of a state."""
        return state if self.optimiser is None else state[0]

    @property
    def rates(self) -> Tensor:
        """α_t for every step, ``[t]``."""
        return self.student_lr.expand(len(self.steps))

    def used(self, tensor: Tensor, t: int) -> Tensor:
        """Return the rows of ``tensor`` that step ``t`` uses."""
        rows = self.steps.rows[t]
        return tensor if rows is None else tensor[rows]


@dataclass(frozen=True)
class Unroll:
    """An engine for one network and one augmentation.

    Attributes:
        network: The student.
        augment: Applied to the synthetic images in every step.
        strategy: ``adjoint`` or ``stored``.
        keep_every: Weights are kept before every such step and recomputed in between; at least 1.
        keep_on_host: Whether they are kept in host memory.
        micro_batch: Images differentiated at once within a step; ``None`` for all.
        compiled: Whether the step and its derivative are compiled.
        bf16: Whether the student computes in bfloat16.
        together: Whether :meth:`mean` trains several students as one stacked problem, where they follow plain SGD.

    Raises:
        ValueError: If ``keep_every`` is less than 1.
        UsageError: If the augmentation mixes images, and targets with them, which here belong to one image each.
    """

    network: FlatNetwork
    augment: Augment
    strategy: Strategy = "adjoint"
    keep_every: int = 1
    keep_on_host: bool = False
    micro_batch: int | None = None
    compiled: bool = False
    bf16: bool = False
    together: bool = False

    def __post_init__(self) -> None:
        if self.keep_every < 1:
            raise ValueError(f"keep_every must be at least 1, got {self.keep_every}")
        if self.augment.mixes:
            raise UsageError(f"augmentation '{self.augment.description}' mixes targets, and a student's stay its own")
        _ = self.step  # refuses what cannot work now, not in the first iteration

    @cached_property
    def step(self) -> StudentStep:
        """Gradient and adjoint of one step."""
        return StudentStep(self.network, self.micro_batch, self.compiled, self.bf16)

    def __call__(
        self,
        start: Params,
        images: Images,
        targets: Targets,
        student_lr: Tensor,
        steps: Steps,
        loss: Loss,
        *,
        nearest: Loss | None = None,
        window: int | None = None,
        truncated: bool = False,
        optimiser: StudentOptimiser | None = None,
    ) -> Gradients:
        """Train from ``start`` through ``steps`` and differentiate ``loss`` of the result.

        Args:
            start: θ_0.
            images: The synthetic images x.
            targets: Their targets y, one distribution per image.
            student_lr: α: one entry for all steps, or one per step.
            steps: Which rows and draws each step uses.
            loss: L, a differentiable scalar of parameters.
            nearest: If given, the end point is the step (1 … N) with the smallest finite value of this;
                of equal ones the last. Otherwise it is the last step.
            window: If given, only the last ``window`` steps before the end point are differentiated; at least 1.
            truncated: Whether the weights that a step starts from count as constants; not exact then, and for
                plain SGD only.
            optimiser: How the student follows its gradients; absent for plain SGD.

        Raises:
            ValueError: If ``student_lr`` has neither one entry nor one per step, there are no steps,
                ``window`` is less than 1, or something truncated has an optimiser.
        """
        if window is not None and window < 1:
            raise ValueError(f"window must be at least 1, got {window}")
        if student_lr.shape not in {(1,), (len(steps),)} or not len(steps):
            raise ValueError(f"student_lr has shape {tuple(student_lr.shape)} for {len(steps)} steps")
        if truncated and optimiser is not None:
            raise ValueError("the truncated rule is for plain SGD")
        start, images, targets, student_lr = (tensor.detach() for tensor in (start, images, targets, student_lr))
        training = _Training(start, images, targets, student_lr, steps, truncated, optimiser)
        run = self._stored if self.strategy == "stored" else self._adjoint
        return run(training, loss, nearest, window)

    def mean(
        self,
        starts: Sequence[Params],
        images: Images,
        targets: Targets,
        student_lr: Tensor,
        steps: Steps,
        loss: Loss,
        *,
        window: int | None = None,
        optimiser: StudentOptimiser | None = None,
    ) -> MeanGradients:
        """Train students from all ``starts`` through the same steps; return the mean of what each gives back.

        At once they give what they give one after another, but for the order in which numbers are added.
        """
        if self.together and optimiser is None and len(starts) > 1:
            images, targets, student_lr = (tensor.detach() for tensor in (images, targets, student_lr))
            training = _Training(torch.stack(tuple(starts)), images, targets, student_lr, steps)
            return self._at_once(training, loss, window)
        options: dict[str, Any] = {"window": window, "optimiser": optimiser}
        return MeanGradients.of([self(start, images, targets, student_lr, steps, loss, **options) for start in starts])

    def _at_once(self, training: _Training, loss: Loss, window: int | None) -> MeanGradients:
        """Return the mean over students that are the rows of ``training.start``, by the adjoint."""
        steps, images, rates = training.steps, training.images, training.rates
        first, params, kept = max(0, len(steps) - (window or len(steps))), training.start, dict[int, Tensor]()
        for t in range(len(steps)):
            if t >= first:
                kept[t] = params
            x, y = self._augmented(training, images, t), training.used(training.targets, t)
            params = params - rates[t] * self.step.gradients(params, x, y)
        values, cotangents = zip(*(_value_and_gradient(loss, end) for end in params), strict=True)
        cotangent = torch.stack(cotangents) / len(params)
        grad_x, grad_y, grad_lr = torch.zeros_like(images), torch.zeros_like(training.targets), torch.zeros_like(rates)
        every_row = torch.arange(len(images), device=images.device)
        for t in reversed(range(first, len(steps))):
            source = images.detach().requires_grad_()
            x = self._augmented(training, source, t)
            y = training.used(training.targets, t)
            g, h, on_x, on_y = self.step.reverses(kept.pop(t), x.detach(), y, cotangent)
            grad_lr[t] = -(cotangent * g).sum()
            grad_x -= rates[t] * torch.autograd.grad(x, source, on_x)[0]
            grad_y.index_add_(0, training.used(every_row, t), -rates[t] * on_y)
            cotangent = cotangent - rates[t] * h
        reduced = grad_lr.sum(0, keepdim=True) if len(training.student_lr) == 1 else grad_lr
        return MeanGradients(torch.stack(values).mean(), grad_x, grad_y, reduced)

    def _adjoint(self, training: _Training, loss: Loss, nearest: Loss | None, window: int | None) -> Gradients:
        images, steps = training.images, training.steps
        first = 0 if nearest else max(0, len(steps) - (window or len(steps)))  # before it nothing needs to be kept
        state, distances = training.initial, []
        for t in range(first):
            state = self._plain_step(training, state, t)
        forward = partial(self._plain_step, training)
        kept = KeptWeights(state, forward, every=self.keep_every, on_host=self.keep_on_host, first=first)
        for t in range(first, len(steps)):
            state = kept.advance(state, t)
            distances += [nearest(training.params(state))] if nearest else []
        k = _end_step(distances, len(steps))
        end = training.params(state if k == len(steps) else kept.at(k))
        value, cotangent = _value_and_gradient(loss, end)
        if training.optimiser is not None:
            cotangent = initial_state(training.optimiser, cotangent)  # the loss looks at the weights alone
        grad_x, grad_y = torch.zeros_like(images), torch.zeros_like(training.targets)
        grad_lr = torch.zeros_like(training.rates)
        every_row = torch.arange(len(images), device=images.device)
        for t in reversed(range(max(0, k - window) if window else 0, k)):
            source = images.detach().requires_grad_()
            x = self._augmented(training, source, t)
            pulled = self._reverse_step(training, kept.at(t), x.detach(), t, cotangent)
            grad_lr[t] = pulled.rate
            grad_x += pulled.scale * torch.autograd.grad(x, source, pulled.images)[0]
            grad_y.index_add_(0, training.used(every_row, t), pulled.scale * pulled.targets)
            cotangent = pulled.state
        reduced = grad_lr.sum(0, keepdim=True) if len(training.student_lr) == 1 else grad_lr
        return Gradients(value, k, end, grad_x, grad_y, reduced)

    def _reverse_step(self, training: _Training, state: Tensor, x: Images, t: int, cotangent: Tensor) -> "_Pulled":
        """Return what ``cotangent``, on the state after step ``t``, is on all that the step depends on."""
        y, rate, optimiser = training.used(training.targets, t), training.rates[t], training.optimiser
        if optimiser is None:
            g, on_params, on_x, on_y = self.step.reverse(state, x, y, cotangent)
            before = cotangent if training.truncated else cotangent - rate * on_params
            return _Pulled(-torch.dot(cotangent, g), -rate, on_x, on_y, before)
        g = self.step.gradient(state[0], x, y)
        before, through, on_rate = pull_back(optimiser, state, g, rate, t, cotangent)
        _, on_params, on_x, on_y = self.step.reverse(state[0], x, y, through)
        before[0] += on_params
        return _Pulled(on_rate, torch.ones_like(rate), on_x, on_y, before)

    def _stored(self, training: _Training, loss: Loss, nearest: Loss | None, window: int | None) -> Gradients:
        k = self._find_end(training, nearest) if nearest else len(training.steps)
        learned = (training.images, training.targets, training.student_lr)
        images, targets, student_lr = (tensor.clone().requires_grad_() for tensor in learned)
        live = replace(training, images=images, targets=targets, student_lr=student_lr)
        first = max(0, k - window) if window else 0
        state = training.initial
        for t in range(first):
            state = self._plain_step(training, state, t)
        state = state.requires_grad_()
        for t in range(first, k):
            state = self._stored_step(live, state, t)
        params = training.params(state)
        value, cotangent = _value_and_gradient(loss, params)
        grads = torch.autograd.grad(params, (images, targets, student_lr), cotangent, materialize_grads=True)
        return Gradients(value, k, params.detach(), *grads)

    def _stored_step(self, training: _Training, state: Tensor, t: int) -> Tensor:
        x, y = self._augmented(training, training.images, t), training.used(training.targets, t)
        at = state.detach().requires_grad_() if training.truncated else state
        g = self.step.differentiable_gradient(training.params(at), x, y)
        return _updated(training, state, g, t)

    def _find_end(self, training: _Training, nearest: Loss) -> int:
        state, distances = training.initial, []
        for t in range(len(training.steps)):
            state = self._plain_step(training, state, t)
            distances.append(nearest(training.params(state)))
        return _end_step(distances, len(training.steps))

    def _plain_step(self, training: _Training, state: Tensor, t: int) -> Tensor:
        """Return the state after step ``t`` from the one before it, without a graph."""
        x, y = self._augmented(training, training.images, t), training.used(training.targets, t)
        return _updated(training, state, self.step.gradient(training.params(state), x, y), t)

    def _augmented(self, training: _Training, images: Float[Tensor, "n c H W"], t: int) -> Float[Tensor, "b c h w"]:
        """Return A_t of what step ``t`` sees of the rows of ``images`` that it uses."""
        used = training.steps.seen(training.used(images, t), t)
        return self.augment.apply(used, training.steps.draws[t].rows(len(used)))


@dataclass(frozen=True)
class _Pulled:
    """A cotangent, pulled back through one step: what it is on each thing the step depends on.

    Of images and targets it is ``scale`` times what is said here.
    """

    rate: Scalar
    scale: Scalar
    images: Images
    targets: Targets
    state: Tensor


def _value_and_gradient(loss: Loss, params: Params) -> tuple[Scalar, Params]:
    """Return the loss at ``params`` and its gradient, detached."""
    leaf, total, gradient = params.detach().requires_grad_(), params.new_zeros(()), torch.zeros_like(params)
    for part in loss.parts() if isinstance(loss, InParts) else (loss,):
        value = part(leaf)
        gradient += torch.autograd.grad(value, leaf)[0]
        total += value.detach()
    return total, gradient


def _updated(training: _Training, state: Tensor, gradient: Params, t: int) -> Tensor:
    """Return the state after step ``t``, with a graph where its arguments have one."""
    if training.optimiser is None:
        return state - training.rates[t] * gradient
    return training.optimiser.update(state, gradient, training.rates[t], t)


def _end_step(distances: list[Scalar], steps: int) -> int:
    """Return the step with the smallest finite distance, the last of equal ones; ``steps`` without any."""
    if not distances:
        return steps
    values = torch.stack(distances)
    values = values.where(values.isfinite(), torch.inf)
    return steps - int(values.flip(0).argmin().item())
