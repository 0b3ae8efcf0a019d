"""Dataset Distillation of 2018, one outer iteration: as published, and by this package."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import problem, reference
from benchmarks.cases import Case
from datadistill.augment import NoAugment
from datadistill.losses.real import RealLoss
from datadistill.networks import FlatNetwork
from datadistill.synthetic.learnable import Rates
from datadistill.synthetic.rules import Rule
from datadistill.synthetic.step_sizes import SoftplusSet
from datadistill.unroll import Unroll, draw_steps

Gradient = tuple[Tensor, Tensor]
_LR = {"lenet": 0.02, "alexcifarnet": 0.001}  # as published; a larger one makes the second network diverge


@dataclass(frozen=True)
class Given:
    """What both sides get: networks, real images, and the synthetic ones batch by batch.

    Attributes:
        case: The sizes.
        network: The student.
        data: Of the benchmark.
        dtype: To compute in.
    """

    case: Case
    network: FlatNetwork
    data: problem.Problem
    dtype: torch.dtype

    @property
    def lr(self) -> float:
        """The step size before the first iteration."""
        return _LR[self.case.network.partition("+")[0]]

    @property
    def batches(self) -> int:
        """Batches that the set is cut into."""
        return self.case.student_steps // self.case.passes

    @property
    def order(self) -> Tensor:
        """The rows of each batch: as many images of every class."""
        rows = torch.arange(self.case.images)
        return rows.view(problem.CLASSES, self.batches, -1).transpose(0, 1).flatten(1)

    def starts(self, number: int) -> Iterator[Tensor]:
        """Yield the first weights of every student of iteration ``number``."""
        for student in range(self.case.students):
            generator = problem.RNG.child("student", student).at(number).stream("weights")
            yield self.network.initial(generator).to(self.data.images.device, self.dtype)

    def real(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the real images of iteration ``number`` and their labels."""
        images, labels = self.data.train
        rows = torch.randperm(len(labels), generator=problem.RNG.at(number).stream("real"))[: self.case.batch_real]
        rows = rows.to(labels.device)
        seen = problem.preprocess(labels.device)(images[rows])
        return problem.cut(self.case, seen).to(self.dtype), labels[rows]


class Published:
    """The published loop."""

    def __init__(self, given: Given) -> None:
        self.given, data = given, given.data
        module = given.network.factory().to(data.images.device)
        images, labels = data.images.to(given.dtype)[given.order], data.labels[given.order]
        self.loop = reference.Distillation(module, images, labels, passes=given.case.passes, lr=given.lr)

    def gradient(self, number: int) -> Gradient:
        """Return the gradient of iteration ``number``, images in the order of the set, and change nothing."""
        images, raw = self.loop.gradient(list(self.given.starts(number)), *self.given.real(number))
        ordered = torch.empty_like(images.flatten(0, 1))
        ordered[self.given.order.flatten().to(images.device)] = images.flatten(0, 1)
        return ordered, raw

    def turn(self, number: int) -> None:
        """Take one outer iteration."""
        self.loop.iterate(list(self.given.starts(number)), *self.given.real(number))


class Ours:
    """The same by this package's engine.

    Args:
        given: What there is.
        strategy: And ``_compiled``, where it is, or ``_sparse``, where the weights of few steps are kept.
    """

    def __init__(self, given: Given, strategy: str) -> None:
        self.given, data = given, given.data
        name, _, kind = strategy.partition("_")
        compiled, every = kind == "compiled", math.isqrt(given.case.student_steps) if kind == "sparse" else 1
        together = compiled and name == "adjoint" and data.images.is_cuda  # as the plan has it
        settings: dict[str, Any] = {"strategy": name, "compiled": compiled, "keep_every": every, "together": together}
        self.unroll = Unroll(given.network, NoAugment(), **settings)
        rule = Rule(lr=0.01, optimiser="adam", betas=(0.5, 0.999))
        targets = F.one_hot(data.labels, problem.CLASSES).to(given.dtype)
        lr = torch.full((given.case.student_steps,), given.lr, device=targets.device)
        self.state = SoftplusSet(data.images.to(given.dtype), targets, Rates(images=rule, raw_student_lr=rule), lr)
        self.steps = draw_steps(
            problem.RNG,
            NoAugment(),
            images=given.case.images,
            steps=given.case.student_steps,
            batch_size=None,
            device=targets.device,
            order=given.order,
        )

    def gradient(self, number: int) -> Gradient:
        """Return the gradient of iteration ``number``, and change nothing."""
        state, loss = self.state, RealLoss(self.given.network, *self.given.real(number))
        learned = (state.images, state.targets, state.student_lr)
        found = self.unroll.mean(tuple(self.given.starts(number)), *learned, self.steps, loss)
        return found.images, state.through_softplus(found.student_lr)

    def turn(self, number: int) -> None:
        """Take one outer iteration."""
        images, raw = self.gradient(number)
        self.state.update({"images": images, "raw_student_lr": raw})
