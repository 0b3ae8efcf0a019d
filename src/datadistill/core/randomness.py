"""Named random streams: one seed, one purpose, one iteration, one generator.

Drawing from one stream never shifts another; a run resumed at iteration 120 draws what the
uninterrupted run would have drawn. All streams live on the CPU, so that the same numbers come out on
every device. Nothing in the package touches the global generators.
"""

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Randomness:
    """A source of named streams.

    Attributes:
        seed: Any integer.
        scope: Names what the streams are for, outermost first: ``("expert", "3")``; a whole number among
            the names is the iteration at which the source was split off.
        iteration: Position in the loop that draws.
    """

    seed: int
    scope: tuple[str | int, ...] = ()
    iteration: int = 0

    def at(self, iteration: int) -> "Randomness":
        """Return the same source at another position of the loop."""
        return Randomness(self.seed, self.scope, iteration)

    def child(self, *names: str | int) -> "Randomness":
        """Return a source whose streams are independent of this one's, starting at iteration 0.

        ``child("expert", 3)`` is ``child("expert").child("3")``: names are compared as text.

        Raises:
            ValueError: If no name is given.
        """
        if not names:
            raise ValueError("child() needs a name: without one it would be the same source again")
        inner = () if self.iteration == 0 else (self.iteration,)  # a number, so that no name can equal it
        return Randomness(self.seed, (*self.scope, *inner, *map(str, names)))

    def number(self, purpose: str) -> int:
        """Return a 63-bit number that depends on seed, scope, iteration and ``purpose`` only."""
        key = repr((int(self.seed), self.scope, int(self.iteration), purpose)).encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1

    def stream(self, purpose: str) -> torch.Generator:
        """Return a fresh CPU generator; asking twice for the same purpose gives the same numbers."""
        return torch.Generator("cpu").manual_seed(self.number(purpose))
