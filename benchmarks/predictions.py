"""What is timed of APM: an update of the images, and the training of a student."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import classwise, problem, reference, reference_apm
from benchmarks.job import Job
from datadistill.experts import Teacher, TeacherPool
from datadistill.methods import APM
from datadistill.training.fit import Examples, Fitted, fit

_STUDENTS = 5


def _numbers(job: Job, given: problem.Problem) -> list[Tensor]:
    """Return the weights of the students: an expert's, each disturbed in its own way."""
    noise = torch.Generator().manual_seed(0)
    return [
        given.target + 0.01 * torch.randn(given.target.shape, generator=noise).to(job.device) for _ in range(_STUDENTS)
    ]


class ReferenceImages:
    """An update of the images as published."""

    def __init__(self, job: Job) -> None:
        self.job, given = job, problem.read(job.folder, job.device)
        self.teacher = classwise.module(job, given, trained=True)
        self.students = []
        for params in _numbers(job, given):
            self.students.append(classwise.module(job, given, trained=False))
            torch.nn.utils.vector_to_parameters(params, self.students[-1].parameters())
        self.loop = reference_apm.Descent(given.images, given.labels)

    def turn(self, number: int) -> None:
        """Take one update."""
        self.loop.iterate(self.teacher, self.students, self.job.device, len(self.loop.images))


class OurImages:
    """The same by this package."""

    def __init__(self, job: Job) -> None:
        plain, given = classwise.ours(job), problem.read(job.folder, job.device)
        teacher = Teacher(plain.network, given.target, plain.network.initial_statistics().to(job.device))
        self.problem = replace(plain, teachers=TeacherPool((teacher,)), iterations=1_000_000)
        self.method = APM(snapshots=_STUDENTS)
        self.state = self.method.init(self.problem, problem.RNG)
        self.state.students.copy_(torch.stack(_numbers(job, given)))

    def turn(self, number: int) -> None:
        """Take one update."""
        _, gradients = self.method.gradient(self.problem, self.state, problem.RNG.at(number + 1))
        self.state.update(gradients)


class ReferenceStudent:
    """Some epochs of a student on logits, by ``DataLoader``."""

    def __init__(self, job: Job) -> None:
        self.job, given = job, problem.read(job.folder, torch.device("cpu"))
        logits = classwise.module(job, given, trained=True)(given.images.to(job.device)).detach().cpu()
        self.loader = DataLoader(TensorDataset(given.images, logits), batch_size=job.case.batch_size, shuffle=True)

    def turn(self, number: int) -> None:
        """Train a new student."""
        network = reference.ConvNet(self.job.case.depth, self.job.case.width).to(self.job.device)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
        for _ in range(self.job.case.epochs):
            reference_apm.train_epoch(network, self.loader, optimizer, self.job.device)


class OurStudent:
    """The same by this package's training loop."""

    def __init__(self, job: Job) -> None:
        given, case = problem.read(job.folder, job.device), job.case
        self.network, self.compiled = problem.flat_network(case), job.variant.endswith("compiled")
        with torch.no_grad():
            logits = self.network(given.target, given.images)
        self.examples = Examples(given.images, logits, criterion=F.l1_loss)
        method = APM(student_epochs=case.epochs, snapshots=1, student_batch=case.batch_size)
        self.recipe = replace(method.student_training, schedule="constant")

    def turn(self, number: int) -> None:
        """Train a new student."""
        rng = problem.RNG.at(number)
        start = Fitted.start(self.network, self.network.initial(rng.stream("student")).to(self.examples.images))
        for _ in fit(self.network, start, self.examples, self.recipe, problem.AUGMENT, rng, compiled=self.compiled):
            pass
