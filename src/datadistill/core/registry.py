"""Look-up by name in plain dictionaries, with an error that names the nearest entry."""

from collections.abc import Mapping
from typing import TypeVar

from datadistill.core.errors import UnknownNameError, nearest

T = TypeVar("T")


def find(table: Mapping[str, T], name: str, kind: str) -> T:
    """Return ``table[name]``.

    Args:
        table: The registry, for example ``METHODS``.
        name: What was asked for.
        kind: What the table holds, in the singular, for the message: ``"method"``.

    Raises:
        UnknownNameError: If ``name`` is not in the table; the message names the nearest entry.
    """
    if name not in table:
        raise UnknownNameError(f"unknown {kind} '{name}'{nearest(name, table)}")
    return table[name]
