"""Operations of a ConvNet's convolutions, counted from their shapes. Standard library only.

One multiply-add is two operations. With F the operations of one convolution in the forward pass:

* a student step is F forward, F for the gradient of the weights, F for that of the input;
* differentiating the two products of that backward pass takes two F each, and the forward pass two more;
* the first convolution needs no gradient of its input in the step, so neither it nor its derivatives.

So the stored graph costs 9 F per step (first convolution 6 F), the adjoint one more student step: 12 F (8 F).
Everything that is no convolution is left out: the share that is printed is a lower bound.
"""

from benchmarks.cases import Case

KERNEL = 3
_CHANNELS, _SIZE = 3, 32
_PRODUCTS = {"stored": (6, 9), "adjoint": (8, 12)}


def shapes(case: Case) -> list[tuple[int, int, int]]:
    """Return (channels in, channels out, size of the image) of every convolution."""
    return [(case.width if block else _CHANNELS, case.width, _SIZE >> block) for block in range(case.depth)]


def forward_operations(case: Case) -> list[int]:
    """Return the operations of every convolution for one image."""
    return [2 * KERNEL**2 * before * after * size**2 for before, after, size in shapes(case)]


def mtt_operations(case: Case, strategy: str) -> int:
    """Return the operations of all convolutions in one outer iteration; ``strategy`` begins with its name."""
    first, other = _PRODUCTS["stored" if strategy.startswith("stored") else "adjoint"]
    per_image = [(other if block else first) * operations for block, operations in enumerate(forward_operations(case))]
    return case.student_steps * case.images * sum(per_image)
