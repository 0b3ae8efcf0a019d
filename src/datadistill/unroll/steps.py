"""What each student step trains on: rows of the synthetic set and augmentation draws, decided beforehand."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from datadistill.augment import Augment, Draws
from datadistill.core.randomness import Randomness
from datadistill.synthetic.texture import Texture


@dataclass(frozen=True)
class Steps:
    """The student's training plan.

    Attributes:
        rows: Per step the indices of the images used, ``[b]`` on the device; ``None`` for the whole set.
        draws: The augmentation draws of all steps.
        texture: How the images are seen where they are canvases.
        offsets: Where its windows lie, ``[t b 2]`` on the device.
    """

    rows: tuple[Tensor | None, ...]
    draws: Draws
    texture: Texture | None = None
    offsets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def seen(self, images: Float[Tensor, "b c H W"], t: int) -> Float[Tensor, "b c h w"]:
        """Return what step ``t`` sees of its rows of the set: the images themselves, or windows of them."""
        if self.texture is None or self.offsets is None:
            return images
        return self.texture.windows(images, self.offsets[t, : len(images)])


def draw_steps(
    rng: Randomness,
    augment: Augment,
    *,
    images: int,
    steps: int,
    batch_size: int | None,
    device: torch.device,
    texture: Texture | None = None,
    order: Int64[Tensor, "s b"] | None = None,
) -> Steps:
    """Draw a plan of ``steps`` student steps over a set of ``images`` images.

    With a ``batch_size`` the set is permuted and cut into batches again and again; the shorter remainder
    comes first, as in the reference implementation of MTT. Of a texture every use takes windows: rows are repeated for
    those, and stand in the batch one set of windows after the other.

    With an ``order`` its rows are the batches of the steps, again and again from the first.

    Raises:
        ValueError: If ``batch_size`` is less than 1.
    """
    size = images if batch_size is None else min(batch_size, images)
    size = size if order is None else order.shape[1]
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    seen = size * (texture.samples if texture is not None else 1)
    draws = augment.draw(rng.stream("student/augment"), steps=steps, batch=seen).to(device)
    offsets = texture.draw(rng.child("student"), steps=steps, batch=size).to(device) if texture is not None else None
    if order is None and size == images and seen == size:
        return Steps((None,) * steps, draws, texture, offsets)
    generator = rng.stream("student/order")
    queue: list[Tensor] = []
    rows = []
    for _ in range(steps):
        if not queue:
            batches = torch.randperm(images, generator=generator).split(size) if order is None else order.flip(0)
            queue = list(batches)
        row = queue.pop()
        rows.append(texture.repeat(row) if texture is not None else row)
    moved = torch.cat(rows).to(device).split([len(row) for row in rows])  # one copy for all steps
    return Steps(tuple(moved), draws, texture, offsets)
