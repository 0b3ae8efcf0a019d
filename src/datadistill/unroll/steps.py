"""What each student step trains on: rows of the synthetic set and augmentation draws, decided beforehand."""

from dataclasses import dataclass

import torch
from torch import Tensor

from datadistill.augment import Augment, Draws
from datadistill.core.randomness import Randomness


@dataclass(frozen=True)
class Steps:
    """The student's training plan.

    Attributes:
        rows: Per step the indices of the images used, ``[b]`` on the device; ``None`` for the whole set.
        draws: The augmentation draws of all steps.
    """

    rows: tuple[Tensor | None, ...]
    draws: Draws

    def __len__(self) -> int:
        return len(self.rows)


def draw_steps(
    rng: Randomness,
    augment: Augment,
    *,
    images: int,
    steps: int,
    batch_size: int | None,
    device: torch.device,
) -> Steps:
    """Draw a plan of ``steps`` student steps over a set of ``images`` images.

    With a ``batch_size`` the set is permuted and cut into batches again and again; the shorter remainder
    comes first, as in the reference implementation of MTT.

    Raises:
        ValueError: If ``batch_size`` is less than 1.
    """
    size = images if batch_size is None else min(batch_size, images)
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    draws = augment.draw(rng.stream("student/augment"), steps=steps, batch=size).to(device)
    if size == images:
        return Steps((None,) * steps, draws)
    generator = rng.stream("student/order")
    queue: list[Tensor] = []
    rows = []
    for _ in range(steps):
        queue = queue or list(torch.randperm(images, generator=generator).split(size))
        rows.append(queue.pop())
    moved = torch.cat(rows).to(device).split([len(row) for row in rows])  # one copy for all steps
    return Steps(tuple(moved), draws)
