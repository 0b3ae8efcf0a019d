"""Tiny data sets in the layouts their users have them in."""

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]


@pytest.fixture
def noise() -> Callable[..., np.ndarray[Any, Any]]:
    """Random bytes of a shape, the same for the same seed."""
    return lambda *shape, seed=0: np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def write_idx(noise: Any) -> Write:
    """Write the four idx files; returns their folder."""

    def write(folder: Path, train: int = 20, test: int = 10, packed: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, count in (("train", train), ("t10k", test)):
            images, labels = noise(count, 28, 28, seed=count), np.arange(count, dtype=np.uint8) % 10
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                content = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
                path = folder / f"{name}-{kind}-ubyte{'.gz' if packed else ''}"
                path.write_bytes(gzip.compress(content) if packed else content)
        return folder

    return write


def python2(value: object) -> bytes:
    """The opcodes that Python 2's pickle, protocol 2, writes for ``value``; strings are byte strings."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: object) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(key) + _python2(entry) for key, entry in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, int):
        return b"K" + bytes([value]) if value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        return b"T" + struct.pack("<i", len(value)) + value.encode("latin1")
    assert isinstance(value, np.ndarray)
    shape = b"(" + b"".join(_python2(size) for size in value.shape) + b"t"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    raw = b"T" + struct.pack("<i", value.nbytes) + value.tobytes()
    new = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    return new + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"


@pytest.fixture
def write_cifar(noise: Any) -> Write:
    """Write CIFAR-10 or CIFAR-100, pickled as Python 2 did or with a protocol of Python 3."""

    def write(root: Path, classes: int = 10, protocol: int | str = "python2") -> Path:
        def save(name: str, content: dict[str, Any]) -> None:
            pickled = python2(content) if protocol == "python2" else pickle.dumps(content, protocol=int(protocol))
            (folder / name).write_bytes(pickled)

        fine = classes == 100
        folder = root / ("cifar-100-python" if fine else "cifar-10-batches-py")
        folder.mkdir(parents=True)
        for seed, name in enumerate(["train", "test"] if fine else [*_BATCHES, "test_batch"]):
            labels = {"fine_labels": list(range(100)), "coarse_labels": [0] * 100} if fine else {"labels": [*range(10)]}
            save(name, {"batch_label": name, **labels, "data": noise(classes, 3072, seed=seed)})
        names = [f"class {i}" for i in range(classes)]
        save("meta" if fine else "batches.meta", {"fine_label_names" if fine else "label_names": names})
        return folder

    return write


_BATCHES = [f"data_batch_{i}" for i in range(1, 6)]


@pytest.fixture
def write_images(noise: Any) -> Write:
    """Write ``counts[class]`` pictures per class as PNG files."""

    def write(
        folder: Path, counts: dict[str, int], mode: str = "RGB", size: tuple[int, int] = (6, 4), first: int = 0
    ) -> Path:
        for label, count in counts.items():
            (folder / label).mkdir(parents=True, exist_ok=True)
            for i in range(first, first + count):
                shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
                image = Image.fromarray(noise(*shape, seed=i + 100 * len(label)))
                image.save(folder / label / f"{i:03d}.png")
        return folder

    return write
