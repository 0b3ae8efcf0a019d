"""Synthetic sets in other formats: out to ``.npz``, ``.pt`` and PNG folders, in from ``.npz`` and ``.pt``.

``.npz`` and PNG are in pixel space; ``.pt`` is what a network sees, here as in the repositories of the papers.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from datadistill.core.errors import ArtifactError, nearest
from datadistill.data import Preprocess
from datadistill.interop.torch_sets import is_torch_set, read_torch_set
from datadistill.runtime.atomic import replacing
from datadistill.synthetic.artifact import Artifact, SyntheticSet
from datadistill.synthetic.texture import Texture

_GREY, _COLOUR = 1, 3


def export_set(artifact: Artifact, destination: Path) -> str:
    """Write a synthetic set where ``destination`` says, and return one line about it.

    ``x.npz``: ``images`` float32 ``[n c h w]`` in [0, 1], not clipped, ``targets``, ``labels``, ``classes``, where the
    set has them ``student_lr`` and ``order``, of textures ``texture`` (canvas, samples). ``x.pt``: a dictionary of
    tensors, images in network space.
    Anything else is a folder of PNG files, one folder per class; values outside [0, 1] are clipped.

    Raises:
        ArtifactError: If the ending is of another format, or PNG files were asked for and the images are
            neither grey nor RGB.
    """
    synthetic, card = artifact.synthetic, artifact.card
    labels = artifact.labels
    pixels = artifact.preprocess.to_pixels(synthetic.images)
    if destination.suffix == ".npz":
        arrays = {"images": pixels, "targets": synthetic.targets, "labels": labels}
        arrays |= {name: tensor for name, tensor in synthetic.tensors().items() if name in ("student_lr", "order")}
        arrays |= _view(card.texture)
        with replacing(destination) as aside, aside.open("wb") as stream:
            content: dict[str, Any] = {name: tensor.numpy() for name, tensor in arrays.items()}
            np.savez(stream, classes=np.array(card.classes), **content)
        return f"{destination}: {len(synthetic)} images in [0, 1], labels, targets"
    if destination.suffix == ".pt":
        with replacing(destination) as aside:
            torch.save({**synthetic.tensors(), **_view(card.texture), "labels": labels}, aside)
        return f"{destination}: {len(synthetic)} images in network space ({card.preprocess['name']}), targets"
    if destination.suffix:
        raise ArtifactError(f"{destination}: sets are written as .npz, as .pt, or as a folder of PNG files")
    if card.shape[0] not in (_GREY, _COLOUR):
        raise ArtifactError(f"{destination}: images of {card.shape[0]} channels cannot be PNG files; export to .npz")
    for i, (image, label) in enumerate(zip((pixels.clamp(0, 1) * 255).round().byte(), labels.tolist(), strict=True)):
        array = image[0].numpy() if card.shape[0] == _GREY else image.permute(1, 2, 0).numpy()
        with replacing(destination / _safe(card.classes[label]) / f"{i:05d}.png") as aside:
            Image.fromarray(array).save(aside, format="PNG")
    return f"{destination}: {len(synthetic)} PNG files, a folder per class"


def import_set(
    path: Path, preprocess: Preprocess, shape: tuple[int, int, int], classes: int, texture: Texture | None = None
) -> SyntheticSet:
    """Return the synthetic set in a file: ``images`` and ``labels`` or ``targets``, maybe ``student_lr`` and ``order``.

    Args:
        path: An ``.npz`` file, images as bytes, or floats in pixel space where [0, 1] is black to white; or one of the
            ``.pt`` files that :func:`~datadistill.interop.torch_sets.read_torch_set` knows, images in network space.
        preprocess: Takes pixels to network space.
        shape: Channels, height and width of the real data.
        classes: Number of classes.
        texture: How the images are to be seen, where they are canvases; the file may not say otherwise.

    Raises:
        ArtifactError: If the file cannot be read, or does not fit the data.
    """
    in_network_space = is_torch_set(path)
    arrays = read_torch_set(path) if in_network_space else _read_npz(path)
    if "images" not in arrays or not {"labels", "targets"} & set(arrays):
        hint = nearest("images", arrays) if "images" not in arrays else nearest("labels", arrays)
        raise ArtifactError(f"{path}: needs 'images' and 'labels' (or 'targets'){hint}")
    images = arrays["images"]
    if not images.is_floating_point() and (images.dtype != torch.uint8 or in_network_space):
        space = "floats as a network sees them" if in_network_space else "uint8, or floats in pixel space"
        raise ArtifactError(f"{path}: images have dtype {images.dtype}; expected {space}")
    images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    if "texture" in arrays and arrays["texture"].tolist() != _view(texture).get("texture", torch.empty(0)).tolist():
        canvas, samples = arrays["texture"].tolist()
        raise ArtifactError(
            f"{path}: holds textures; say --set texture.canvas={canvas} --set texture.samples={samples}"
        )
    owner, shape = ("the data set", shape) if texture is None else ("a canvas", texture.shape(shape))
    if images.shape[1:] != shape:
        raise ArtifactError(f"{path}: images have shape {tuple(images.shape[1:])}, {owner} has {shape}")
    if not bool(torch.isfinite(images).all()):
        raise ArtifactError(f"{path}: images hold numbers that are not finite")
    targets = _targets(path, arrays, len(images), classes)
    sorted_rows = torch.argsort(targets.argmax(1), stable=True)
    lr = arrays["student_lr"].float().reshape(-1) if "student_lr" in arrays else None
    if lr is not None and not bool((torch.isfinite(lr) & (lr > 0)).all()):
        raise ArtifactError(f"{path}: student_lr must be positive, got {lr.tolist()}")
    images = images if in_network_space else preprocess.from_pixels(images)
    steps = _order(path, arrays["order"], sorted_rows, lr) if "order" in arrays else None
    return SyntheticSet(images[sorted_rows], targets[sorted_rows], lr, steps)


def _order(path: Path, order: Tensor, sorted_rows: Tensor, lr: Tensor | None) -> Tensor:
    """Return the rows of every step of a file as rows of the set, which is sorted by class."""
    n = len(sorted_rows)
    if order.is_floating_point() or order.dim() != 2 or not order.numel() or not 0 <= order.min() <= order.max() < n:
        raise ArtifactError(f"{path}: order must hold rows of the set, 0 to {n - 1}, for every step")
    if lr is not None and len(lr) not in (1, len(order)):
        raise ArtifactError(f"{path}: student_lr has {len(lr)} entries for {len(order)} steps")
    return torch.argsort(sorted_rows)[order.long()]


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            numbers = {name: stored[name] for name in stored.files if stored[name].dtype.kind in "fiu"}
        return {name: torch.from_numpy(a.astype(a.dtype.newbyteorder("="))) for name, a in numbers.items()}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(f"{path}: cannot be read as .npz ({error})") from error


def _view(texture: Texture | None) -> dict[str, Tensor]:
    """Return what a file says of how its images are seen; nothing where they are ordinary ones."""
    return {} if texture is None else {"texture": torch.tensor([texture.canvas, texture.samples])}


def _targets(path: Path, arrays: dict[str, Tensor], count: int, classes: int) -> Tensor:
    if "targets" in arrays:
        targets = arrays["targets"].float()
        if targets.shape != (count, classes):
            raise ArtifactError(f"{path}: targets have shape {tuple(targets.shape)}, expected {(count, classes)}")
        return targets
    labels = arrays["labels"].long()
    if labels.shape != (count,) or not bool(((labels >= 0) & (labels < classes)).all()):
        raise ArtifactError(f"{path}: labels must be {count} numbers in 0 … {classes - 1}")
    return F.one_hot(labels, classes).float()


def _safe(name: str) -> str:
    """Return a class name as a folder name."""
    return "".join(c if c.isalnum() or c in "-_ ." else "_" for c in name).strip(". ") or "_"
