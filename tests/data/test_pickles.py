"""Pickles are read, never run."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datadistill.core.errors import DataError
from datadistill.data.pickles import read_pickle


class Hostile:
    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_hostile_pickle_is_refused_without_being_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "was here"
    content = pickle.dumps({"data": Hostile(os.system, f"touch '{mark}'")}, protocol=protocol)
    with pytest.raises(DataError, match=r"^f: refused, the pickle asks for '(posix|nt).system'; no data set needs it$"):
        read_pickle(content, "f")
    assert not mark.exists()
    pickle.loads(content)  # the attack is a real one
    assert mark.exists()


@pytest.mark.parametrize(
    ("function", "name"),
    [(eval, "eval"), (getattr, "getattr"), (open, "open"), (np.load, "load"), (torch.load, "load"), (dict, "dict")],
)
def test_other_globals_are_refused_too(function: Any, name: str) -> None:
    with pytest.raises(DataError, match=rf"^f: refused, the pickle asks for '[\w.]*\.{name}'"):
        read_pickle(pickle.dumps([Hostile(function, "1")]), "f")


def test_names_below_an_allowed_one_are_refused() -> None:
    content = b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__base__\x93."
    with pytest.raises(DataError, match=r"'numpy.ndarray.__base__'"):
        read_pickle(content, "f")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_arrive_as_tensors(protocol: int, order: Any) -> None:
    array = np.asarray(np.arange(24, dtype=np.uint8).reshape(4, 6), order=order)
    content = pickle.dumps({b"data": array, "labels": [1, 2]}, protocol=protocol)
    read = read_pickle(content, "f")
    assert read["labels"] == [1, 2]
    assert read["data"].tolist() == array.tolist()


@pytest.mark.parametrize(
    "value",
    [
        {"data": np.zeros(3)},
        {"data": np.array([None])},
        {"data": Hostile(np.zeros(0).__reduce__()[0], np.ndarray, (1 << 50,), b"b")},
        {"data": Hostile(np.dtype, 7)},
        {"x": "é", 1: Hostile(__import__("_codecs").encode, "x", "zip")},
    ],
)
def test_arrays_of_anything_but_bytes_are_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"^f: (damaged, or not a pickle of arrays|refused)"):
        read_pickle(pickle.dumps(value), "f")


def test_only_dictionaries() -> None:
    with pytest.raises(DataError, match=r"^f: holds a list, not a dictionary$"):
        read_pickle(pickle.dumps([1]), "f")


@given(st.binary(max_size=60))
def test_noise_is_a_data_error_or_a_dictionary(content: bytes) -> None:
    try:
        assert isinstance(read_pickle(content, "f"), dict)
    except DataError as error:
        assert str(error).startswith("f: ")
