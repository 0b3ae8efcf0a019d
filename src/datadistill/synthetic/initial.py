"""The first images of a synthetic set."""

from typing import Literal

import torch
import torch.nn.functional as F

from datadistill.core.arrays import Images, Targets
from datadistill.core.randomness import Randomness
from datadistill.data import Preprocess, RealData
from datadistill.data.sampling import sample_per_class
from datadistill.synthetic.texture import Texture

Initial = Literal["real", "noise"]


def initial_set(
    choice: Initial,
    data: RealData,
    preprocess: Preprocess,
    *,
    ipc: int,
    rng: Randomness,
    texture: Texture | None = None,
) -> tuple[Images, Targets]:
    """Return ``ipc`` images per class, sorted by class, and one-hot targets, on the device of ``data``.

    Args:
        choice: ``real``: distinct training images of the class; ``noise``: standard normal in network space.
        data: The real data.
        preprocess: Maps bytes to the space a network sees.
        ipc: Images per class, at least 1.
        rng: Stream ``initial`` is drawn from it.
        texture: Makes canvases of the images, one or several distinct ones of the class each.

    Raises:
        DataError: If a class has fewer training images than are needed.
    """
    k, device = data.classes, data.train.images.device
    generator = rng.stream("initial")
    labels = torch.arange(k, device=device).repeat_interleave(ipc)
    targets = F.one_hot(labels, k).float()
    if choice == "noise":
        shape = texture.shape(data.card.shape) if texture is not None else data.card.shape
        return torch.randn((k * ipc, *shape), generator=generator).to(device), targets
    rows = sample_per_class(data.train.labels, ipc * (texture.tiles if texture is not None else 1), k, generator)
    images = preprocess(data.train.images[rows.to(device)])
    return texture.assemble(images) if texture is not None else images, targets
