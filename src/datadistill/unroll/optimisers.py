"""What a student remembers besides its weights: momentum or Adam, as pure functions that can be differentiated.

A state is one tensor: weights first, then what is remembered, each of the length of the weights. Plain SGD remembers
nothing; its state is the weights themselves, and the engine has a path of its own for it.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from datadistill.core.arrays import Params, Scalar

State = Float[Tensor, "v p"]
"""Weights and what is remembered of each, as rows."""


@runtime_checkable
class StudentOptimiser(Protocol):
    """How a student follows its gradient, where that is not plain SGD."""

    @property
    def vectors(self) -> int:
        """Rows of a state."""
        ...

    def update(self, state: State, gradient: Params, rate: Scalar, done: int) -> State:
        """Return the state after a step, differentiable in ``state``, ``gradient`` and ``rate``.

        Args:
            state: Before the step.
            gradient: Of the loss at the state's weights.
            rate: Step size.
            done: Steps before this one.
        """
        ...


@dataclass(frozen=True)
class Momentum:
    """SGD with momentum, as in torch: v ← μ v + g, θ ← θ − α v.

    Attributes:
        momentum: μ, in [0, 1).
    """

    momentum: float = 0.9
    vectors: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")

    def update(self, state: State, gradient: Params, rate: Scalar, done: int) -> State:
        """Return weights and velocity after a step."""
        velocity = self.momentum * state[1] + gradient
        return torch.stack([state[0] - rate * velocity, velocity])


@dataclass(frozen=True)
class Adam:
    """Adam, as in torch, without weight decay.

    Attributes:
        betas: Of the two moments, each in [0, 1).
        eps: Added to the root of the second moment, positive.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    vectors: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if not (all(0 <= beta < 1 for beta in self.betas) and self.eps > 0):
            raise ValueError(f"betas must be in [0, 1) and eps positive, got {self.betas} and {self.eps}")

    def update(self, state: State, gradient: Params, rate: Scalar, done: int) -> State:
        """Return weights and both moments after a step.

        A weight whose gradient has always been 0 has no derivative through the root of its second moment; that part
        is 0 beside the first moment, which is 0 there.
        """
        first = self.betas[0] * state[1] + (1 - self.betas[0]) * gradient
        second = self.betas[1] * state[2] + (1 - self.betas[1]) * gradient.square()
        moved = second > 0
        root = torch.where(moved, torch.where(moved, second, 1.0).sqrt(), 0.0)
        corrections = [1 - beta ** (done + 1) for beta in self.betas]
        step = first / corrections[0] / (root / corrections[1] ** 0.5 + self.eps)
        return torch.stack([state[0] - rate * step, first, second])


def initial_state(optimiser: StudentOptimiser, params: Params) -> State:
    """Return the state before the first step: nothing is remembered."""
    state = params.new_zeros(optimiser.vectors, len(params))
    state[0] = params
    return state


def pull_back(
    optimiser: StudentOptimiser, state: State, gradient: Params, rate: Scalar, done: int, cotangent: State
) -> tuple[State, Params, Scalar]:
    """Return what ``cotangent``, on the state after a step, is on state, gradient and step size before it."""
    state, gradient, rate = (tensor.detach().requires_grad_() for tensor in (state, gradient, rate))
    after = optimiser.update(state, gradient, rate, done)
    before, through, on_rate = torch.autograd.grad(after, (state, gradient, rate), cotangent)
    return before, through, on_rate
