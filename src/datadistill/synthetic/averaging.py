"""A learned set with a moving average of its images."""

from dataclasses import replace

import torch
from torch import Tensor

from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.learnable import LearnableSet


class AveragedSet(LearnableSet):
    """A learnable set that averages its images after every update: E ← d E + (1 − d) x.

    Args:
        start: The set before the first update.
        decay: d, in (0, 1).
        corrected: Whether E starts from zero and is divided by 1 − dᵗ when it is read, as Adam does; otherwise it
            starts from the initial images, which keep a weight of dᵗ.
    """

    def __init__(self, start: LearnableSet, decay: float, *, corrected: bool) -> None:
        super().__init__(start.images, start.targets, start.rates, start.values.get("student_lr"))
        self.decay, self.corrected = decay, corrected
        self.average = torch.zeros_like(self.images) if corrected else self.images.clone()

    def update(self, gradients: dict[str, Tensor]) -> None:
        """Take one optimiser step, in place, and average."""
        super().update(gradients)
        self.average.lerp_(self.images, 1 - self.decay)

    def averaged(self) -> SyntheticSet:
        """Return a detached copy with the averaged images; before the first update, with the images themselves."""
        if not self.corrected or self.updates == 0:
            images = self.images if self.corrected else self.average
        else:
            images = self.average / (1 - self.decay ** int(self.updates))
        return replace(self.freeze(), images=images.clone())

    def tensors(self) -> dict[str, Tensor]:
        """Return values, momenta and the average by name."""
        return {**super().tensors(), "average": self.average, "updates": self.updates}
