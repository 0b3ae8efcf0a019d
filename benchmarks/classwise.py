"""What is timed of DM, DC and the contrastive term: one iteration, new images and numbers in each."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import problem, reference, reference_classwise
from benchmarks.job import Job
from datadistill.data import RealData, from_arrays
from datadistill.experts import Teacher, TeacherPool
from datadistill.methods import DC, DM, Problem, step
from datadistill.methods.base import begin
from datadistill.methods.clom import CCLoM

_LR = {"dm": 1.0, "dc": 0.1}


def module(job: Job, given: problem.Problem, *, trained: bool) -> reference.ConvNet:
    """Return the network of the reference, new or with the weights of an expert."""
    network = reference.ConvNet(job.case.depth, job.case.width).to(job.device)
    if trained:
        torch.nn.utils.vector_to_parameters(given.target, network.parameters())
    return network


class ReferenceMatching:
    """DM or DC as published; DC in the network of an expert, DM in a new one."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.given = problem.read(job.folder, job.device, "train")
        pixels, labels = self.given.train
        self.real = problem.preprocess(job.device)(pixels)
        self.rows = [(labels == label).nonzero().flatten() for label in range(problem.CLASSES)]
        method = job.case.benchmark
        self.loop = reference_classwise.Matching(self.given.images, problem.CLASSES, lr=_LR[method], method=method)

    def turn(self, number: int) -> None:
        """Take one outer iteration."""
        rng = problem.RNG.at(number)
        reals = [self.real[own[torch.randperm(len(own))[: self.job.case.batch_real]]] for own in self.rows]
        draws = problem.AUGMENT.draw(rng.stream("augment"), steps=problem.CLASSES, batch=1).to(self.job.device)
        network = module(self.job, self.given, trained=self.job.case.benchmark == "dc")
        self.loop.iterate(network, reals, draws)


def ours(job: Job) -> Problem:
    """Return the problem as our methods have it."""
    given = problem.read(job.folder, job.device, "train", "test")
    return Problem(
        data=_data(given).to(job.device),
        preprocess=problem.preprocess(job.device),
        network=problem.flat_network(job.case),
        augment=problem.AUGMENT,
        initial_images=given.images,
        initial_targets=F.one_hot(given.labels, problem.CLASSES).float(),
    )


def _data(given: problem.Problem) -> RealData:
    arrays = [tensor.cpu().numpy() for tensor in (*given.train, *given.test)]
    return from_arrays(*arrays, name="benchmark")


class OurMatching:
    """DM or DC by this package."""

    def __init__(self, job: Job) -> None:
        batch, compiled = job.case.batch_real, job.variant.endswith("compiled")
        self.problem = replace(ours(job), compiled=compiled)
        self.method: DC | DM = (
            DC(batch_real=batch, outer_loop=1_000_000, inner_loop=0)
            if job.case.benchmark == "dc"
            else DM(batch_real=batch)
        )
        self.state = begin(self.method, self.problem, problem.RNG)  # type: ignore[arg-type]

    def turn(self, number: int) -> None:
        """Take one outer iteration."""
        step(self.method, self.problem, self.state, problem.RNG.at(number + 1))  # type: ignore[arg-type]


class ReferenceTerm:
    """CCLoM as published: a new batch of real images in every iteration, and all pairs."""

    def __init__(self, job: Job) -> None:
        self.given, self.count = problem.read(job.folder, job.device, "train"), job.case.term_real
        self.real = problem.preprocess(job.device)(self.given.train[0])
        self.network = module(job, self.given, trained=True)
        for parameter in self.network.parameters():
            parameter.requires_grad = False

    def turn(self, number: int) -> None:
        """Return value and gradient of one iteration."""
        rows = torch.randint(len(self.real), (self.count,), device=self.real.device)
        images = self.given.images.clone().requires_grad_()
        batch = self.real[rows], self.given.train[1][rows]
        reference_classwise.contrastive(self.network, images, self.given.labels, *batch).backward()


class OurTerm:
    """CCLoM by this package: class sums of all real images, worked out once."""

    def __init__(self, job: Job) -> None:
        plain, given = ours(job), problem.read(job.folder, job.device)
        teacher = Teacher(plain.network, given.target, plain.network.initial_statistics().to(job.device))
        self.images: Tensor = plain.initial_images
        self.targets: Tensor = plain.initial_targets
        self.term = CCLoM(alphas=(1.0,)).prepare(replace(plain, teachers=TeacherPool((teacher,))), problem.RNG)

    def turn(self, number: int) -> None:
        """Return value and gradient of one iteration."""
        self.term(self.images, self.targets, problem.RNG.at(number))
