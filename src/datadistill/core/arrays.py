"""The names of the tensors that pass between rooms; shapes are checked in the tests only.

Letters: ``n`` images, ``b`` batch, ``c h w`` pixels, ``k`` classes, ``p`` parameters, ``d`` features,
``t`` steps, ``e`` epochs, ``m`` networks side by side, ``s`` normalisation statistics.
"""

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Images = Float[Tensor, "n c h w"]
"""Images in the space a network sees (normalised or whitened), any range."""

Pixels = UInt8[Tensor, "n c h w"]
"""Images as they come from disk, 0..255."""

Labels = Int64[Tensor, " n"]
"""Class indices, 0..k-1."""

Targets = Float[Tensor, "n k"]
"""One distribution over the classes per image; one-hot rows are hard labels."""

Logits = Float[Tensor, "n k"]
"""Raw network outputs, before softmax."""

Params = Float[Tensor, " p"]
"""All parameters of one network as one flat vector."""

Statistics = Float[Tensor, " s"]
"""Means and variances of all batch-norm layers of one network as one flat vector; empty without any."""

Scalar = Float[Tensor, ""]
"""A number that stays on the device until somebody reads it."""
