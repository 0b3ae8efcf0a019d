"""Look-up by name, and the nearest name."""

import pytest

from datadistill.core.errors import (
    ArtifactError,
    ConfigError,
    CorruptFileError,
    DatadistillError,
    DataNotFoundError,
    DivergenceError,
    NonFiniteError,
    RunError,
    SchemaVersionError,
    UnknownNameError,
    UsageError,
    nearest,
)
from datadistill.core.registry import find

TABLE = {"mtt": 1, "att": 2, "DM": 3}


def test_find_returns_the_entry() -> None:
    assert find(TABLE, "att", "method") == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mtx", "unknown method 'mtx'; did you mean 'mtt'?"),
        ("MTT", "unknown method 'MTT'; did you mean 'mtt'?"),
        ("dm", "unknown method 'dm'; did you mean 'DM'?"),
        ("zzzzz", "unknown method 'zzzzz'; valid: DM, att, mtt"),
        ("", "unknown method ''; valid: DM, att, mtt"),
    ],
)
def test_an_unknown_name_names_the_nearest_or_all(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        find(TABLE, name, "method")
    assert str(caught.value) == message


def test_find_in_an_empty_table_says_so_in_one_line() -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown method 'mtt'$"):
        find({}, "mtt", "method")


def test_nearest_takes_any_iterable_once() -> None:
    assert nearest("ipx", (name for name in ("ipc", "lr"))) == "; did you mean 'ipc'?"


@pytest.mark.parametrize(
    ("error", "parent", "exit_code"),
    [
        (DatadistillError, Exception, 1),
        (UnknownNameError, UsageError, 2),
        (ConfigError, UsageError, 2),
        (DataNotFoundError, UsageError, 2),
        (CorruptFileError, ArtifactError, 2),
        (SchemaVersionError, ArtifactError, 2),
        (RunError, UsageError, 2),
        (NonFiniteError, DatadistillError, 3),
        (DivergenceError, DatadistillError, 3),
    ],
)
def test_every_error_has_its_place_and_exit_code(
    error: type[DatadistillError], parent: type[Exception], exit_code: int
) -> None:
    assert issubclass(error, parent)
    assert error("").exit_code == exit_code
