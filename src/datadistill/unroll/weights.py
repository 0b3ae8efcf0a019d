"""The student's weights along its training: kept at every step, every k-th, or in host memory."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from datadistill.core.arrays import Params


@dataclass
class KeptWeights:
    """θ_t for every t reached so far, some of it kept, the rest computed again when asked for.

    Asking in descending order costs at most one more forward sweep in all.

    Attributes:
        start: θ_0.
        forward: ``(θ_t, t) -> θ_{t+1}``; must give the same bits every time.
        every: θ_t is kept for every multiple of this.
        on_host: Whether kept weights live in host memory.
    """

    start: Params
    forward: Callable[[Params, int], Params]
    every: int = 1
    on_host: bool = False
    _kept: dict[int, Tensor] = field(default_factory=dict)
    _segment: dict[int, Tensor] = field(default_factory=dict)

    def advance(self, params: Params, t: int) -> Params:
        """Return θ_{t+1} from ``params`` = θ_t, keeping θ_t if it is due."""
        if t % self.every == 0:
            self._kept[t] = params.cpu() if self.on_host else params
        return self.forward(params, t)

    def at(self, t: int) -> Params:
        """Return θ_t on the device of ``start``; recomputes its segment if it was not kept."""
        anchor = min(t - t % self.every, max(self._kept))
        if t == anchor:
            return self._kept[t].to(self.start.device)
        if t not in self._segment:
            self._segment = {anchor: self._kept[anchor].to(self.start.device)}
            for step in range(anchor, t):
                self._segment[step + 1] = self.forward(self._segment[step], step)
        return self._segment[t]
