"""What a checkpoint may contain: named tensors, nothing else."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Resumable(Protocol):
    """State that can be written down as named tensors and taken up again, bit for bit."""

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor the future of this state depends on; not copies."""
        ...

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over values returned by :meth:`tensors` of an equal state.

        Raises:
            CorruptFileError: If a name is missing, unknown or has another shape.
        """
        ...
