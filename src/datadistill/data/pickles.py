"""Reading the pickles data sets are published in, without running anything.

A pickle can call any function it names. The unpickler here knows no class: arrays arrive as plain records of
shape, dtype and bytes, and are checked before numpy sees them.
"""

import io
import math
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch

from datadistill.core.errors import DataError


def read_pickle(content: bytes, where: str) -> dict[str, Any]:
    """Return the dictionary in a pickle of Python 2 or 3; text keys, arrays as tensors.

    Raises:
        DataError: If it is cut short, is no dictionary, or names a global outside the few that numpy arrays
            need; nothing of it has been run.
    """
    try:
        loaded = _Unpickler(io.BytesIO(content), where).load()
        if not isinstance(loaded, dict):
            raise DataError(f"{where}: holds a {type(loaded).__name__}, not a dictionary")
        return {text(key): _tensor(value) for key, value in loaded.items()}
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(f"{where}: damaged, or not a pickle of arrays ({type(error).__name__}: {error})") from error


def text(value: object) -> str:
    """Return a string of Python 2 (bytes here) or 3 as a string."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


class _Dtype:
    """Stands for ``numpy.dtype``; keeps the name only."""

    def __init__(self, name: bytes | str, *_: object) -> None:
        self.name = text(name)

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and alignment: bytes have none."""


class _Array:
    """Stands for ``numpy.ndarray``; keeps what was pickled."""

    shape: tuple[int, ...] = ()
    dtype: _Dtype | None = None
    order = "C"
    raw: bytes | bytearray | str = b""

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes | str]) -> None:
        _, self.shape, self.dtype, fortran, self.raw = state
        self.order = "F" if fortran else "C"


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _from_buffer(raw: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.raw, array.dtype, array.shape, array.order = raw, dtype, shape, order
    return array


def _encode(characters: str, encoding: str) -> bytes:
    """Do what Python 3 writes bytes as in protocol 2; no other encoding is looked up."""
    if encoding != "latin1":
        raise ValueError(f"encoding '{encoding}'")
    return characters.encode("latin1")


class _Unpickler(pickle.Unpickler):
    _ALLOWED: ClassVar[dict[tuple[str, str], Callable[..., object]]] = {
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy.core.numeric", "_frombuffer"): _from_buffer,
        ("numpy._core.numeric", "_frombuffer"): _from_buffer,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
    }

    def __init__(self, stream: io.BytesIO, where: str) -> None:
        super().__init__(stream, encoding="bytes")
        self._where = where

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        if (module, name) not in self._ALLOWED:
            raise DataError(f"{self._where}: refused, the pickle asks for '{module}.{name}'; no data set needs it")
        return self._ALLOWED[module, name]


def _tensor(value: object) -> object:
    if not isinstance(value, _Array):
        return value
    raw = value.raw.encode("latin1") if isinstance(value.raw, str) else value.raw
    if value.dtype is None or value.dtype.name not in ("u1", "uint8") or len(raw) != math.prod(value.shape):
        raise ValueError("an array that is not of bytes, or not as long as its shape says")
    order: Any = value.order
    return torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(value.shape, order=order).copy())
