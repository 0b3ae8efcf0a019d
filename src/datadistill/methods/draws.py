"""What an iteration draws that judges networks by real images: those images, and the networks; not a method itself."""

from collections.abc import Iterator
from typing import Literal

from datadistill.augment import Augment
from datadistill.core.arrays import Params
from datadistill.core.errors import UsageError
from datadistill.core.randomness import Randomness
from datadistill.data.sampling import batch_of_epoch
from datadistill.losses.real import RealLoss
from datadistill.methods.base import Problem
from datadistill.networks.known import known_weights

InitialWeights = Literal["random", "fixed", "teachers"]


def draw_real_loss(problem: Problem, rng: Randomness, *, batch: int, augment: Augment) -> RealLoss:
    """Return the loss on the real batch of iteration ``rng.iteration``, in the dtype of the initial images.

    Args:
        problem: Whose data and network.
        rng: Of the method.
        batch: Real images, at most.
        augment: Their augmentation, which must not mix them.
    """
    train = problem.data.train
    part = train.take(batch_of_epoch(len(train), batch, rng).to(problem.device))
    draws = augment.draw(rng.stream("real/augment"), steps=1, batch=len(part)).to(problem.device)
    images = augment.apply(problem.preprocess(part.images), draws[0])
    return RealLoss(problem.network, images.to(problem.initial_images), part.labels)


def draw_starts(problem: Problem, rng: Randomness, *, kind: InitialWeights, count: int) -> Iterator[Params]:
    """Yield the initial weights of ``count`` networks, where and in the dtype that the initial images are.

    Args:
        problem: Whose network.
        rng: Of the method.
        kind: ``random``: new in every iteration; ``fixed``: known networks of the seed, the same in all; ``teachers``:
            different ones of the teachers, as they are, in whatever space they were trained.
        count: How many.

    Raises:
        ValueError: If there are fewer teachers of this architecture.
    """
    if kind == "teachers":
        pool = problem.require_teachers().of(problem.network.name)
        yield from (teacher.params.to(problem.initial_images) for teacher in pool.sample(count, rng.stream("teachers")))
        return
    for number in range(count):
        if kind == "fixed":
            drawn = known_weights(problem.network, rng.seed, number)
        else:
            drawn = problem.network.initial(rng.child("network", number).stream("initial weights"))
        yield drawn.to(problem.initial_images)


def check_classes(problem: Problem, **classes: int | None) -> None:
    """Refuse what is no class of the data.

    Raises:
        UsageError: If there is one; names its key and the classes.
    """
    k = problem.data.classes
    for key, label in classes.items():
        if label is not None and not 0 <= label < k:
            raise UsageError(f"{key} is {label}, and '{problem.data.card.name}' has classes 0 to {k - 1}")
