"""A learned set of which an update reaches some images only."""

from typing import Any

import torch
from torch import Tensor

from datadistill.core.arrays import Images
from datadistill.synthetic.artifact import SyntheticSet
from datadistill.synthetic.learnable import LearnableSet


class LazySet(LearnableSet):
    """A learnable set whose images move by momentum alone as long as no gradient reaches them.

    SGD with momentum moves every image in every update. Where the gradient is sparse in the images, those without one
    are left as they are, and caught up with when a gradient next reaches them: g updates later the velocity v is μ^g v,
    and the image has moved by −Σ_j α_j μ^j v. It is the same to rounding, at the cost of the rows in use.

    What is kept is as late as it is; what is read is up to date.

    Raises:
        ValueError: If images do not follow SGD, or something else is learned as well.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if list(self.rules) != ["images"] or self.rules["images"].optimiser != "sgd":
            raise ValueError("a lazy set learns its images only, by SGD")
        held = self.values["images"]
        self.current = torch.zeros(len(held), dtype=torch.int64, device=held.device)  # updates that a row has seen
        self._none_late = True  # known here without asking the device

    @property
    def images(self) -> Images:
        """The images as they are after the last update, ``[n c h w]``."""
        return self.rows(torch.arange(len(self.current), device=self.current.device))

    def rows(self, rows: Tensor) -> Images:
        """Return the images of some rows, on the device, as they are after the last update."""
        return self._up_to_date(rows)[0]

    def update(self, gradients: dict[str, Tensor]) -> None:
        """Take one optimiser step, in place; a sparse gradient of the images reaches the rows it has only."""
        gradient, rule = gradients["images"], self.rules["images"]
        sparse = gradient.is_sparse
        rows = gradient._indices()[0] if sparse else torch.arange(len(self.current), device=self.current.device)
        images, velocity = self._up_to_date(rows)
        velocity = rule.momentum * velocity + (gradient._values() if sparse else gradient)
        self.velocities["images"][rows] = velocity
        self.values["images"][rows] = images - rule.lr_at(int(self.updates)) * velocity
        self.updates += 1
        self.current[rows] = int(self.updates)
        self._none_late = not sparse

    def _up_to_date(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and velocities of some rows as they are after the last update."""
        if self._none_late:
            return self.values["images"][rows], self.velocities["images"][rows]
        rule, done = self.rules["images"], int(self.updates)
        moves = [0.0]  # by how many velocities a row moves that has seen so many updates, the last first
        for t in reversed(range(done)):
            moves.append(rule.momentum * (rule.lr_at(t) + moves[-1]))
        seen, velocity = self.current[rows], self.velocities["images"][rows]
        shape = (-1, *(1,) * (velocity.dim() - 1))
        moved = torch.tensor(moves[::-1], dtype=torch.float64).to(seen.device, non_blocking=True)[seen]
        left = torch.tensor(rule.momentum, dtype=torch.float64, device=seen.device) ** (done - seen)
        images = self.values["images"][rows] - moved.to(velocity).view(shape) * velocity
        return images, left.to(velocity).view(shape) * velocity

    def freeze(self) -> SyntheticSet:
        """Return a detached copy as a synthetic set."""
        return SyntheticSet(self.images.clone(), self.targets.clone())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what :meth:`tensors` returned."""
        super().restore(tensors)
        self._none_late = bool((self.current == int(self.updates)).all())

    def tensors(self) -> dict[str, Tensor]:
        """Return values and momenta by name, and how late each row is."""
        return {**super().tensors(), "current": self.current, "updates": self.updates}
