"""ZCA whitening as in the field: what MTT takes from kornia's ``ZCAWhitening(eps=0.1, compute_inv=True)``.

With x the flattened pixels in [0, 1], m their mean and U diag(s) Uᵀ their covariance (divided by n - 1),
both over the training split: T = U diag(1/√(s + eps)) Uᵀ, inverse U diag(√(s + eps)) Uᵀ.

Differences: the decomposition is a symmetric one in float64 (kornia: SVD in float32).
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from datadistill.core.arrays import Images, Pixels
from datadistill.core.errors import ConfigError, CorruptFileError, DataError
from datadistill.data.base import RealData
from datadistill.runtime.atomic import content_key, read_tensors, write_tensors

EPS = 0.1
_ROWS = 4096  # images at a time: bounds the memory beside the result


class Zca:
    """``(x / 255 - mean) @ matrix`` on flattened images, and its inverse.

    Its dtype is that of ``matrix``; products are as exact as the device's float32 (TF32 is off by default).
    """

    def __init__(
        self,
        mean: Float[Tensor, " q"],
        matrix: Float[Tensor, "q q"],
        inverse: Float[Tensor, "q q"],
        *,
        eps: float = EPS,
        fitted_on: str = "",
    ) -> None:
        """Take fitted tensors.

        Args:
            mean: Mean of every pixel, q = c·h·w.
            matrix: T.
            inverse: Of T.
            eps: Added to the eigenvalues, > 0.
            fitted_on: Key of data, split and eps, the same on every machine; empty when not known.
        """
        self.mean, self.matrix, self.inverse = mean, matrix, inverse
        self.eps, self.fitted_on = eps, fitted_on

    @cached_property
    def description(self) -> dict[str, Any]:
        """Name, eps, key of what it was fitted on, and checksum of the tensors as float32.

        The last bits of the matrix depend on the machine, and with them the checksum; ``fitted_on`` does not.
        """
        digest = hashlib.blake2b(digest_size=16)
        for tensor in self.tensors().values():
            digest.update(tensor.detach().cpu().float().contiguous().numpy().data)
        return {
            "name": "zca",
            "eps": self.eps,
            "fitted_on": self.fitted_on,
            "checksum": digest.hexdigest(),
        }

    def __call__(self, images: Pixels) -> Images:
        """Return whitened images."""
        here = self.to(images.device)
        out = images.new_empty(images.shape, dtype=here.matrix.dtype)
        for chunk, target in zip(images.split(_ROWS), out.split(_ROWS), strict=True):
            target.copy_(here.from_pixels(chunk.to(out.dtype).div_(255)))
        return out

    def from_pixels(self, images: Images) -> Images:
        """Return images of scale [0, 1] whitened."""
        here = self._for(images)
        return ((images.flatten(1) - here.mean) @ here.matrix).view(images.shape)

    def to_pixels(self, images: Images) -> Images:
        """Return whitened images at scale [0, 1], not clamped."""
        here = self._for(images)
        return (images.flatten(1) @ here.inverse + here.mean).view(images.shape)

    def invert(self, images: Images) -> Pixels:
        """Return whitened images as bytes."""
        return self.to_pixels(images.detach()).mul_(255).round_().clamp_(0, 255).to(torch.uint8)

    def tensors(self) -> dict[str, Tensor]:
        """Return mean, matrix and inverse."""
        return {"mean": self.mean, "matrix": self.matrix, "inverse": self.inverse}

    def to(self, device: torch.device) -> "Zca":
        """Return the same map on another device."""
        if self.matrix.device == device:
            return self
        moved = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return Zca(**moved, eps=self.eps, fitted_on=self.fitted_on)

    def _for(self, images: Tensor) -> "Zca":
        if images[0:1].numel() not in (0, len(self.mean)):
            raise ConfigError(f"zca: fitted to {len(self.mean)} values per image, got {[*images.shape[1:]]}")
        return self.to(images.device)


def fit_zca(images: Pixels, eps: float = EPS, *, dtype: torch.dtype = torch.float32, fitted_on: str = "") -> Zca:
    """Return the whitening of ``images``, computed in float64 on their device.

    Args:
        images: Training images, n ≥ 2.
        eps: Added to the eigenvalues of the covariance, > 0.
        dtype: In which the result is kept and applied.
        fitted_on: Passed on to :class:`Zca`.

    Raises:
        DataError: If there are fewer than two images.
    """
    count = len(images)
    if count < 2:
        raise DataError(f"zca: needs at least two training images, got {count}")
    mean = images.flatten(1).sum(0, dtype=torch.int64).double().div_(255 * count)
    covariance = mean.new_zeros(len(mean), len(mean))
    for chunk in images.flatten(1).split(_ROWS):
        centred = chunk.double().div_(255).sub_(mean)
        covariance.addmm_(centred.T, centred, alpha=1 / (count - 1))
    values, vectors = torch.linalg.eigh(covariance)
    scales = (values.clamp_min_(0) + eps).sqrt_()
    matrix = ((vectors / scales) @ vectors.T).to(dtype)
    inverse = ((vectors * scales) @ vectors.T).to(dtype)
    return Zca(mean.to(dtype), matrix, inverse, eps=eps, fitted_on=fitted_on)


def fit_zca_cached(data: RealData, eps: float, cache: Path | None) -> Zca:
    """Return the whitening of the training split, from ``cache`` where it has been computed before.

    Args:
        data: The data set.
        eps: Added to the eigenvalues, > 0.
        cache: Folder; ``None`` always computes. A damaged file in it is replaced.

    Raises:
        DataError: If there are fewer than two training images, or the cache cannot be written.
    """
    key = _key(data, eps)
    if cache is None:
        return fit_zca(data.train.images, eps, fitted_on=key)
    try:
        cache.mkdir(parents=True, exist_ok=True)  # before the work, not after it
        if (kept := _kept(data, eps, cache)) is not None:
            return kept
        fitted = fit_zca(data.train.images, eps, fitted_on=key)
        write_tensors(_path(cache, key), fitted.tensors())
    except OSError as error:
        raise DataError(f"{cache}: cannot keep the whitening matrix here ({error})") from error
    return fitted


def unfitted_zca(data: RealData, eps: float, cache: Path) -> Zca:
    """Return the whitening in ``cache``, else one of its shape that changes nothing: as good for times and sizes."""
    if (kept := _kept(data, eps, cache)) is not None:
        return kept
    images = data.train.images
    same = torch.eye(images[0].numel(), device=images.device)
    return Zca(torch.zeros_like(same[0]), same, same, eps=eps, fitted_on=_key(data, eps))


def _key(data: RealData, eps: float) -> str:
    return content_key({"checksum": data.card.checksum, "split": data.card.split, "eps": eps})


def _path(cache: Path, key: str) -> Path:
    return cache / f"zca-{key}.safetensors"


def _kept(data: RealData, eps: float, cache: Path) -> Zca | None:
    """Return the whitening in ``cache``; none where it is not there, or damaged."""
    key = _key(data, eps)
    try:
        kept, _ = read_tensors(_path(cache, key))  # verifies the checksum in its header
        return Zca(**kept, eps=eps, fitted_on=key).to(data.train.images.device)
    except (CorruptFileError, TypeError):
        return None


def load_zca(description: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Zca:
    """Return the whitening with this description and these tensors.

    Raises:
        CorruptFileError: If a tensor is missing, has the wrong shape, or the checksum differs.
        KeyError: If the description is incomplete.
    """
    parts = {name: tensors[name].to(dtype) for name in ("mean", "matrix", "inverse") if name in tensors}
    if set(parts) != {"mean", "matrix", "inverse"}:
        raise CorruptFileError("zca: needs the tensors mean, matrix and inverse")
    values = parts["mean"].numel()
    if any(parts[name].shape != (values, values) for name in ("matrix", "inverse")) or parts["mean"].ndim != 1:
        raise CorruptFileError("zca: the shapes of mean, matrix and inverse do not belong together")
    loaded = Zca(**parts, eps=float(description["eps"]), fitted_on=str(description["fitted_on"]))
    if loaded.description["checksum"] != description["checksum"]:
        raise CorruptFileError("zca: the matrices are not those on the card (checksum differs)")
    return loaded
