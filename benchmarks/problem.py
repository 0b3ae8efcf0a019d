"""The data of a benchmark: made once, written to a file, read by every worker."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.cases import Case
from datadistill.augment import DSA
from datadistill.core.errors import DataNotFoundError
from datadistill.core.randomness import Randomness
from datadistill.data import Preprocess, load_dataset, load_preprocess
from datadistill.data.zca import fit_zca
from datadistill.networks import FlatNetwork, build_network
from datadistill.synthetic.texture import Texture
from datadistill.training.fit import Examples, Fitted, fit
from datadistill.training.schedules import TrainingRecipe

RNG = Randomness(0).child("benchmark")
AUGMENT = DSA()
CONSTANTS = {"name": "normalise", "mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
CLASSES = 10
_SEGMENT_STEPS = 20  # of the expert, between the start and the target of the MTT student
_FILE = "problem.pt"


@dataclass(frozen=True)
class Problem:
    """Tensors on the device.

    Attributes:
        train: Real images, bytes, and labels.
        test: The same for testing.
        images: Synthetic images in network space: real ones, sorted by class.
        labels: Their classes.
        start: An expert's weights at the start of a segment.
        target: At its end.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    images: Tensor
    labels: Tensor
    start: Tensor
    target: Tensor


def preprocess(device: torch.device) -> Preprocess:
    """Return the usual normalisation of CIFAR-10."""
    return load_preprocess(CONSTANTS, {}).to(device)


def flat_network(case: Case) -> FlatNetwork:
    """Return our network."""
    return build_network(case.network or f"convnet-{case.depth}-w{case.width}", shape(case), CLASSES)


def texture(case: Case) -> Texture | None:
    """Return how the synthetic images are seen, where they are canvases."""
    return Texture(canvas=case.canvas) if case.canvas else None


def shape(case: Case) -> tuple[int, int, int]:
    """Return channels, height and width of what the network sees: of CIFAR-10, or, for LeNet, of MNIST."""
    return (1, 28, 28) if case.network.startswith("lenet") else (3, 32, 32)


def cut(case: Case, images: Tensor) -> Tensor:
    """Return images of that shape: the upper left of the first channels."""
    c, h, w = shape(case)
    return images[:, :c, :h, :w].contiguous()


def prepare(case: Case, data_root: str | None, folder: Path) -> str:
    """Write the problem to ``folder``; return in words what the images are."""
    train, test, words = _real(case, data_root) if data_root else _noise(case)
    rows = torch.cat([(train[1] == label).nonzero()[: case.ipc, 0] for label in range(CLASSES)])
    space = fit_zca(train[0]) if case.zca else preprocess(torch.device("cpu"))
    network = flat_network(case)
    start = network.initial(RNG.stream("expert"))
    if case.network:  # its students start anew in every iteration
        problem = Problem(train, test, cut(case, space(train[0][rows])), train[1][rows], start, start)
        torch.save(vars(problem), folder / _FILE)
        return words
    few = _SEGMENT_STEPS * case.batch_size
    examples = Examples(train[0][:few], train[1][:few], space)
    epochs = max(1, _SEGMENT_STEPS * case.batch_size // len(examples))
    recipe = TrainingRecipe(epochs=epochs, batch_size=case.batch_size)
    *_, end = fit(network, Fitted.start(network, start), examples, recipe, AUGMENT, RNG)
    images, view = space(train[0][rows]), texture(case)
    images = images if view is None else view.assemble(images)
    problem = Problem(train, test, images, train[1][rows], start, end.params)
    torch.save(vars(problem), folder / _FILE)
    return words


def read(folder: Path, device: torch.device, *parts: str) -> Problem:
    """Return the problem on a device; of real data only the ``parts`` that are named (``train``, ``test``)."""
    stored = torch.load(folder / _FILE, mmap=True)
    for name, value in stored.items():
        if isinstance(value, Tensor):
            stored[name] = value.clone().to(device)
        else:
            stored[name] = tuple(part.clone().to(device) for part in value) if name in parts else ()
    return Problem(**stored)


def _real(case: Case, data_root: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], str]:
    try:
        data = load_dataset("cifar10", Path(data_root), validation=0, download=False)
    except DataNotFoundError:
        return _noise(case)
    n, m = case.real_images, case.test_images
    train = data.train.images[:n].clone(), data.train.labels[:n].clone()
    return train, (data.test.images[:m].clone(), data.test.labels[:m].clone()), "CIFAR-10"


def _noise(case: Case) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], str]:
    generator = RNG.stream("noise")

    def split(n: int) -> tuple[Tensor, Tensor]:
        images = torch.randint(256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return images, torch.arange(n) % CLASSES

    return split(case.real_images), split(case.test_images), "seeded noise in the shape of CIFAR-10"
