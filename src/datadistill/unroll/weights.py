"""The student's weights, or its whole state, along its training: kept at every step, every k-th, or in host memory."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class KeptWeights:
    """θ_t for every t reached so far, some of it kept, the rest computed again when asked for.

    Asking in descending order costs at most one more forward sweep in all.

    Attributes:
        start: θ at step ``first``.
        forward: ``(θ_t, t) -> θ_{t+1}``; must give the same bits every time.
        every: θ_t is kept for ``first`` and every so many steps after it.
        on_host: Whether kept weights live in host memory.
        first: The step they are kept from.
    """

    start: Tensor
    forward: Callable[[Tensor, int], Tensor]
    every: int = 1
    on_host: bool = False
    first: int = 0
    _kept: dict[int, Tensor] = field(default_factory=dict)
    _segment: dict[int, Tensor] = field(default_factory=dict)

    def advance(self, params: Tensor, t: int) -> Tensor:
        """Return θ_{t+1} from ``params`` = θ_t, keeping θ_t if it is due."""
        if (t - self.first) % self.every == 0:
            self._kept[t] = params.cpu() if self.on_host else params
        return self.forward(params, t)

    def at(self, t: int) -> Tensor:
        """Return θ_t on the device of ``start``; recomputes its segment if it was not kept."""
        anchor = min(t - (t - self.first) % self.every, max(self._kept))
        if t == anchor:
            return self._kept[t].to(self.start.device)
        if t not in self._segment:
            self._segment = {anchor: self._kept[anchor].to(self.start.device)}
            for step in range(anchor, t):
                self._segment[step + 1] = self.forward(self._segment[step], step)
        return self._segment[t]
