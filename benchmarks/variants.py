"""Everything that is timed: one class per benchmark and side; ``turn`` is what the clock runs over."""

import statistics
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import classwise, distillation, predictions, problem, reference
from benchmarks.job import Job
from datadistill.evaluate.protocol import Protocol as EvaluationProtocol
from datadistill.evaluate.run import Subject, judge
from datadistill.losses.distance import normalised_distance
from datadistill.runtime.device import usable_cores
from datadistill.runtime.executor import InProcess, SideBySide
from datadistill.synthetic.learnable import LearnableSet, Rates
from datadistill.training.fit import Examples, Fitted, fit
from datadistill.training.schedules import TrainingRecipe
from datadistill.unroll import Unroll

Facts = dict[str, Any]
Gradient = tuple[Tensor, Tensor]


class Variant(Protocol):
    """Something that takes turns."""

    def turn(self, number: int) -> Any:
        """Do the work once."""
        ...


class ReferenceTrajectories:
    """MTT as published."""

    def __init__(self, job: Job, dtype: torch.dtype = torch.float32) -> None:
        self.job = job
        given = problem.read(job.folder, job.device)
        network = reference.ConvNet(job.case.depth, job.case.width).to(job.device)
        tensors = (tensor.to(dtype) for tensor in (given.images, given.start, given.target))
        images, start, target = tensors
        case = job.case
        self.loop = reference.TrajectoryMatching(
            network, images, given.labels, start, target, steps=case.student_steps, nearest=case.nearest
        )

    def gradient(self, number: int) -> Gradient:
        """Return the gradient of iteration ``number``, and change nothing."""
        return self.loop.gradient(*self._draws(number))

    def turn(self, number: int) -> None:
        """Take one outer iteration."""
        self.loop.iterate(*self._draws(number))

    def _draws(self, number: int) -> tuple[Any, Tensor | None]:
        steps, size = self.job.steps(number), self.loop.images.shape[2]
        return steps.draws, None if steps.offsets is None else (steps.offsets * size).long()


class OurTrajectories:
    """MTT by this package's engine."""

    def __init__(self, job: Job) -> None:
        self.job = job
        given = problem.read(job.folder, job.device)
        self.start, self.target = given.start, given.target
        strategy, _, compiled = job.variant.partition("_")
        network = problem.flat_network(job.case)
        self.unroll = Unroll(network, problem.AUGMENT, strategy=strategy, compiled=bool(compiled))  # type: ignore[arg-type]
        rates = Rates(images=1000.0, student_lr=1e-5)
        targets = F.one_hot(given.labels, problem.CLASSES).float()
        self.state = LearnableSet(given.images, targets, rates, torch.tensor([0.01]))

    def gradient(self, number: int) -> Gradient:
        """Return the gradient of iteration ``number``, and change nothing."""
        state, start, target = self.state, self.start, self.target

        def loss(end: Tensor) -> Tensor:
            return normalised_distance(end, start, target)

        def distance(params: Tensor) -> Tensor:
            return (params - target).abs().sum()

        learned, steps = (state.images, state.targets, state.student_lr), self.job.steps(number)
        found = self.unroll(start, *learned, steps, loss, nearest=distance if self.job.case.nearest else None)
        return found.images, found.student_lr

    def turn(self, number: int) -> None:
        """Take one outer iteration."""
        images, student_lr = self.gradient(number)
        self.state.update({"images": images, "student_lr": student_lr})


def distilling(job: Job, dtype: torch.dtype = torch.float32) -> distillation.Given:
    """Return what Dataset Distillation is given."""
    return distillation.Given(
        job.case, problem.flat_network(job.case), problem.read(job.folder, job.device, "train"), dtype
    )


def exact(job: Job) -> "ReferenceTrajectories | distillation.Published":
    """Return the reference formulation of a gradient, in float64."""
    if job.case.benchmark == "dd":
        return distillation.Published(distilling(job, torch.float64))
    return ReferenceTrajectories(job, torch.float64)


class ReferenceExpert:
    """One epoch of an expert, by ``DataLoader``."""

    def __init__(self, job: Job) -> None:
        self.device = job.device
        images, labels = problem.read(job.folder, torch.device("cpu"), "train").train
        inputs = problem.preprocess(torch.device("cpu"))(images)
        self.loader = DataLoader(TensorDataset(inputs, labels), batch_size=job.case.batch_size, shuffle=True)
        self.network = reference.ConvNet(job.case.depth, job.case.width).to(job.device)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.01)

    def turn(self, number: int) -> None:
        """Train for one epoch."""
        reference.train_epoch(self.network, self.loader, self.optimizer, self.device)


class OurExpert:
    """One epoch of an expert, by this package's training loop."""

    def __init__(self, job: Job) -> None:
        images, labels = problem.read(job.folder, job.device, "train").train
        network = problem.flat_network(job.case)
        start = Fitted.start(network, network.initial(problem.RNG.stream("expert")).to(job.device))
        recipe = TrainingRecipe(epochs=1_000_000, batch_size=job.case.batch_size)
        examples = Examples(images, labels, problem.preprocess(job.device))
        compiled = job.variant.endswith("compiled")
        self.epochs = fit(network, start, examples, recipe, problem.AUGMENT, problem.RNG, compiled=compiled)

    def turn(self, number: int) -> None:
        """Train for one epoch."""
        next(self.epochs)


class ReferenceEvaluation:
    """Several networks trained on the synthetic set and tested, one after another, by ``DataLoader``."""

    def __init__(self, job: Job) -> None:
        self.job = job
        cpu = torch.device("cpu")
        given = problem.read(job.folder, cpu, "test")
        train = TensorDataset(given.images, given.labels)
        test = TensorDataset(problem.preprocess(cpu)(given.test[0]), given.test[1])
        self.train = DataLoader(train, batch_size=job.case.batch_size, shuffle=True)
        self.test = DataLoader(test, batch_size=job.case.batch_size)

    def turn(self, number: int) -> Facts:
        """Train and test every network; return the seconds of one network's training."""
        case, device = self.job.case, self.job.device
        training = []
        for _ in range(case.networks):
            network = reference.ConvNet(case.depth, case.width).to(device)
            optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
            begun = time.perf_counter()
            for _ in range(case.epochs):
                reference.train_epoch(network, self.train, optimizer, device)
            training.append(time.perf_counter() - begun)
            reference.accuracy(network, self.test, device)
        return {"training_seconds": statistics.median(training)}


class OurEvaluation:
    """The same by this package's evaluation."""

    def __init__(self, job: Job) -> None:
        case = job.case
        given = problem.read(job.folder, job.device, "test")
        targets = F.one_hot(given.labels, problem.CLASSES).float()
        self.subjects = [Subject("synthetic", "a synthetic set", (Examples(given.images, targets),), 0.01)]
        self.test = Examples(*given.test, problem.preprocess(job.device))
        self.network = problem.flat_network(case)
        settings: Facts = {"networks": case.networks, "epochs": case.epochs, "batch_size": case.batch_size}
        self.protocol = EvaluationProtocol(**settings, schedule="constant")
        self.compiled = job.variant.endswith("compiled")
        self.executor = SideBySide(usable_cores()) if "side_by_side" in job.variant else InProcess()

    def turn(self, number: int) -> None:
        """Train and test every network."""
        rng = problem.RNG.at(number)
        settings: Facts = {"network": self.network, "augment": "dsa", "test": self.test, "rng": rng}
        judge(self.subjects, self.protocol, executor=self.executor, compiled=self.compiled, **settings)


def build(job: Job) -> Variant:
    """Return the variant of that name."""
    sides: dict[str, tuple[Callable[[Job], Variant], Callable[[Job], Variant]]] = {
        "mtt": (ReferenceTrajectories, OurTrajectories),
        "dm": (classwise.ReferenceMatching, classwise.OurMatching),
        "dc": (classwise.ReferenceMatching, classwise.OurMatching),
        "cclom": (classwise.ReferenceTerm, classwise.OurTerm),
        "apm": (predictions.ReferenceImages, predictions.OurImages)
        if job.case.name.startswith("images")
        else (predictions.ReferenceStudent, predictions.OurStudent),
        "dd": (
            lambda job: distillation.Published(distilling(job)),
            lambda job: distillation.Ours(distilling(job), job.variant),
        ),
        "experts": (ReferenceExpert, OurExpert),
        "evaluate": (ReferenceEvaluation, OurEvaluation),
    }
    theirs, ours = sides[job.case.benchmark]
    return theirs(job) if job.variant.startswith("reference") else ours(job)
