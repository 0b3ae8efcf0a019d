"""Options of an augmentation as text: ``siamese,multiple,align_corners=false``.

``siamese``, ``multiple`` and ``single`` alone are short for ``siamese=true``, ``mode=multiple`` and
``mode=single``.
"""

import dataclasses
import typing
from typing import Any

from datadistill.core.errors import UnknownNameError, nearest
from datadistill.core.structure import parse_value

_SHORT = {"siamese": "siamese=true", "multiple": "mode=multiple", "single": "mode=single"}
_NAMED_APART = ("strategy",)


def read_options(cls: type, text: str, *, name: str) -> dict[str, Any]:
    """Return the fields of the dataclass ``cls`` that ``text`` sets.

    Args:
        cls: The augmentation.
        text: Options separated by commas; may be empty.
        name: The whole name, for messages.

    Raises:
        UnknownNameError: If there is no such option; the message names the nearest.
        ConfigError: If a value cannot be read.
    """
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls) if field.name not in _NAMED_APART]
    values: dict[str, Any] = {}
    for option in filter(None, text.split(",")):
        key, _, value = _SHORT.get(option, option).partition("=")
        if key not in names:
            raise UnknownNameError(f"augmentation '{name}': unknown option '{key}'{nearest(key, names)}")
        values[key] = parse_value(hints[key], value, source=f"augmentation '{name}'", key=key)
    return values


def changed_options(augment: Any) -> str:
    """Return ``"@option,…"`` for every field that differs from its default, ``""`` if none does."""
    changed = []
    for field in dataclasses.fields(augment):
        value = getattr(augment, field.name)
        if field.name not in _NAMED_APART and value != field.default:
            text = f"{field.name}={str(value).lower()}"
            changed.append(next((short for short, long in _SHORT.items() if long == text), text))
    return f"@{','.join(changed)}" if changed else ""
