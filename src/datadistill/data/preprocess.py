"""From bytes to the space a network sees, and back: normalisation per channel, ZCA whitening, or neither."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from datadistill.core.arrays import Images, Pixels
from datadistill.core.errors import ConfigError, nearest
from datadistill.core.registry import find
from datadistill.data.base import Constants, RealData
from datadistill.data.zca import EPS, fit_zca_cached, load_zca, unfitted_zca


@runtime_checkable
class Preprocess(Protocol):
    """An invertible map between pixels and the space a network sees.

    Works on batches on any device; :meth:`to` spares a copy of its tensors in every call.
    """

    @property
    def description(self) -> dict[str, Any]:
        """Plain data for cards and content keys; with :meth:`tensors` enough for :func:`load_preprocess`."""
        ...

    def __call__(self, images: Pixels) -> Images:
        """Return bytes from disk in the network's space, on the device of ``images``."""
        ...

    def from_pixels(self, images: Images) -> Images:
        """Return images of scale [0, 1] in the network's space; differentiable."""
        ...

    def to_pixels(self, images: Images) -> Images:
        """Return images of the network's space at scale [0, 1], not clamped; differentiable."""
        ...

    def invert(self, images: Images) -> Pixels:
        """Return images of the network's space as bytes: exactly what ``__call__`` was given."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return what :attr:`description` does not hold, by name; not copies."""
        ...

    def to(self, device: torch.device) -> "Preprocess":
        """Return the same map with its tensors on another device."""
        ...


class Normalise:
    """``(x / 255 - mean) / std`` per channel, as torchvision's ToTensor and Normalize, to the bit."""

    def __init__(self, constants: Constants, dtype: torch.dtype = torch.float32) -> None:
        """Take mean and standard deviation per channel.

        Raises:
            ConfigError: If they differ in length, are not finite, or a deviation is not positive.
        """
        mean, std = constants
        bad = len(mean) != len(std) or not all(map(math.isfinite, (*mean, *std))) or min(std, default=0) <= 0
        if bad:
            raise ConfigError(f"normalise: mean {mean} and std {std} are not constants per channel")
        self.constants: Constants = (tuple(mean), tuple(std))
        self._mean = torch.tensor(mean, dtype=dtype)[:, None, None]
        self._std = torch.tensor(std, dtype=dtype)[:, None, None]

    @property
    def description(self) -> dict[str, Any]:
        """Name, mean and standard deviation."""
        return {"name": "normalise", "mean": [*self.constants[0]], "std": [*self.constants[1]]}

    def __call__(self, images: Pixels) -> Images:
        """Return normalised images."""
        mean, std = self._on(images)
        return images.to(mean.dtype).div_(255).sub_(mean).div_(std)  # one copy of the whole set, not four

    def from_pixels(self, images: Images) -> Images:
        """Return images of scale [0, 1] normalised."""
        mean, std = self._on(images)
        return (images - mean) / std

    def to_pixels(self, images: Images) -> Images:
        """Return normalised images at scale [0, 1], not clamped."""
        mean, std = self._on(images)
        return images * std + mean

    def invert(self, images: Images) -> Pixels:
        """Return normalised images as bytes."""
        return as_bytes(self.to_pixels(images))

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing: the description holds all."""
        return {}

    def to(self, device: torch.device) -> "Normalise":
        """Return the same map on another device."""
        moved = Normalise(self.constants, self._mean.dtype)
        moved._mean, moved._std = self._mean.to(device), self._std.to(device)
        return moved

    def _on(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if images.shape[1] != len(self._mean):
            raise ConfigError(f"normalise: {len(self._mean)} constants for {images.shape[1]} channels")
        return self._mean.to(images.device), self._std.to(images.device)


class Plain:
    """``x / 255`` and nothing else."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self._dtype = dtype

    @property
    def description(self) -> dict[str, Any]:
        """Its name."""
        return {"name": "none"}

    def __call__(self, images: Pixels) -> Images:
        """Return images in [0, 1]."""
        return images.to(self._dtype).div_(255)

    def from_pixels(self, images: Images) -> Images:
        """Return ``images``."""
        return images

    def to_pixels(self, images: Images) -> Images:
        """Return ``images``."""
        return images

    def invert(self, images: Images) -> Pixels:
        """Return images as bytes."""
        return as_bytes(images)

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def to(self, device: torch.device) -> "Plain":
        """Return ``self``."""
        return self


def as_bytes(images: Images) -> Pixels:
    """Return images of scale [0, 1] as bytes: rounded, what lies outside clamped."""
    return images.detach().mul(255).round_().clamp_(0, 255).to(torch.uint8)


def measure_constants(images: Pixels) -> Constants:
    """Return mean and (population) standard deviation per channel, exact to float64.

    A channel that never changes gets the deviation 1, so that it can be divided by.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in images.unbind(1):
        counts = torch.bincount(channel.flatten(), minlength=256).cpu().double()
        share = counts / counts.sum()
        mean = share @ levels
        means.append(mean.item())
        deviations.append((share @ (levels - mean).square()).sqrt().item() or 1.0)
    return tuple(means), tuple(deviations)


def fit_preprocess(choice: str, data: RealData, cache: Path | None = None, *, shapes_only: bool = False) -> Preprocess:
    """Return the preprocessing called ``choice``, fitted to the training split of ``data`` only.

    Args:
        choice: ``"normalise"`` with the first constants on the card, ``"normalise:<name>"`` with other
            ones on the card or ``measured`` on the training split, ``"zca"`` (eps 0.1; ``"zca:<eps>"``),
            ``"none"``.
        data: The data set; ZCA is computed on the device it lies on.
        cache: Folder in which whitening matrices are kept; ``None`` computes them anew.
        shapes_only: Whether a matrix that is not in ``cache`` is not fitted: what stands in for it changes nothing and
            takes the same time and memory.

    Raises:
        UnknownNameError: If there is no such preprocessing or no such constants; names the nearest.
        ConfigError: If ``eps`` is not a positive number, or ``none`` is given an option.
        DataError: If there are fewer than two training images, or the cache cannot be written.
    """
    kind, _, option = choice.partition(":")
    kind = find({name: name for name in ("normalise", "zca", "none")}, kind, "preprocessing")
    if kind == "zca":
        eps = _eps(option) if option else EPS
        return unfitted_zca(data, eps, cache) if shapes_only and cache else fit_zca_cached(data, eps, cache)
    if kind == "none":
        if option:
            raise ConfigError(f"preprocessing 'none' takes no option, got '{option}'")
        return Plain()
    known = dict(data.card.constants)
    if "measured" not in known and (option == "measured" or not known):
        known["measured"] = measure_constants(data.train.images)
    name = option or next(iter(known))
    choices = {"measured": ((), ()), **known}  # so that a wrong name is told of `measured` as well
    find(choices, name, f"constants of '{data.card.name}'")
    return Normalise(known[name])


def load_preprocess(
    description: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
) -> Preprocess:
    """Return the preprocessing that was described by ``description`` and ``tensors()``.

    Args:
        description: What :attr:`Preprocess.description` returned, possibly by way of JSON.
        tensors: What :meth:`Preprocess.tensors` returned.
        dtype: Of the images it will make.

    Raises:
        ConfigError: If the description is of no known kind or incomplete.
        CorruptFileError: If the tensors are not those described.
    """
    name = description.get("name")
    try:
        if name == "normalise":
            mean, std = (tuple(float(value) for value in description[key]) for key in ("mean", "std"))
            return Normalise((mean, std), dtype)
        if name == "none":
            return Plain(dtype)
        if name == "zca":
            return load_zca(description, tensors, dtype)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"preprocessing '{name}': incomplete description ({error!r})") from error
    raise ConfigError(f"unknown preprocessing '{name}'{nearest(str(name), ('normalise', 'zca', 'none'))}")


def _eps(text: str) -> float:
    try:
        eps = float(text)
    except ValueError:
        eps = math.nan
    if not (math.isfinite(eps) and eps > 0):
        raise ConfigError(f"zca: eps must be a positive number, got '{text}'")
    return eps
