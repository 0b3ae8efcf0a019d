"""From decoded arrays to a checked data set; every reader ends here."""

import hashlib

import torch
from torch import Tensor

from datadistill.core.errors import DataError
from datadistill.data.base import Constants, DatasetCard, RealData, Split
from datadistill.data.preprocess import measure_constants


def make_split(images: Tensor, labels: Tensor, classes: int, where: str) -> Split:
    """Return a split after checking that images and labels belong together.

    Args:
        images: uint8 ``[n c h w]``.
        labels: int64 ``[n]``.
        classes: Number of classes.
        where: File or array, for messages.

    Raises:
        DataError: If shapes, lengths or labels are wrong, or there is no image at all.
    """
    if images.ndim != 4 or images.dtype != torch.uint8:
        raise DataError(f"{where}: not uint8 images [n c h w]: {images.dtype} {[*images.shape]}")
    if labels.ndim != 1 or len(images) != len(labels):
        raise DataError(f"{where}: {len(images)} images but labels of shape {[*labels.shape]}")
    if images.numel() == 0:
        raise DataError(f"{where}: no images")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise DataError(f"{where}: label {wrong} is outside 0..{classes - 1} ({classes} classes)")
    return Split(images.contiguous(), labels.contiguous())


def assemble(
    train: Split,
    test: Split,
    *,
    name: str,
    classes: tuple[str, ...],
    source: str,
    licence: str,
    split: str,
    constants: dict[str, Constants] | None = None,
) -> RealData:
    """Return a data set with its card and an empty validation split.

    Args:
        train: Training split, on the CPU.
        test: Test split, on the CPU.
        name: Name on the card.
        classes: Class names in the order of the labels.
        source: Where the data come from, in words.
        licence: As far as stated.
        split: How train and test were separated, in words.
        constants: Named normalisation constants; ``None`` measures them on the training split.

    Raises:
        DataError: If the splits differ in shape, or a class has no training image.
    """
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{name}: training images are {[*train.images.shape[1:]]}, test images {[*test.images.shape[1:]]}"
        )
    counts = torch.bincount(train.labels, minlength=len(classes))
    if not counts.all():
        label = int(counts.argmin())
        raise DataError(f"{name}: class {label} ('{classes[label]}') has no training image")
    channels, height, width = train.images.shape[1:]
    card = DatasetCard(
        name=name,
        classes=classes,
        shape=(channels, height, width),
        checksum=data_checksum(train, test),
        source=source,
        licence=licence,
        split=split,
        constants={"measured": measure_constants(train.images)} if constants is None else constants,
    )
    return RealData(card, train, train.take(torch.arange(0)), test)


def data_checksum(train: Split, test: Split) -> str:
    """Return the BLAKE2b checksum, 32 hexadecimal digits, of the decoded bytes in order.

    Training images (NCHW), training labels (int64, little endian), test images, test labels.
    """
    digest = hashlib.blake2b(digest_size=16)
    for split in (train, test):
        digest.update(split.images.cpu().contiguous().numpy().data)
        digest.update(split.labels.cpu().contiguous().numpy().astype("<i8", copy=False).data)
    return digest.hexdigest()
