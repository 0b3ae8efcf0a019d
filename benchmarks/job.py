"""What a worker is asked to be."""

from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import problem
from benchmarks.cases import Case
from datadistill.unroll import Steps, draw_steps


@dataclass(frozen=True)
class Job:
    """What a worker is asked to be.

    Attributes:
        case: The problem's sizes.
        variant: Its name.
        folder: Where the problem lies, and the gradient in float64.
        device: Where to compute.
    """

    case: Case
    variant: str
    folder: Path
    device: torch.device

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def steps(self, number: int) -> Steps:
        """Draw the student steps of iteration ``number``: the same for every variant."""
        steps, n = self.case.student_steps, self.case.images
        rng = problem.RNG.at(number)
        return draw_steps(
            rng,
            problem.AUGMENT,
            images=n,
            steps=steps,
            batch_size=None,
            device=self.device,
            texture=problem.texture(self.case),
        )
