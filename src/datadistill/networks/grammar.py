"""How the options of a network are read from a name and spelled in one: one canonical order and spelling each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from datadistill.core.errors import UnknownNameError, nearest

_DIGITS = "0123456789"


@dataclass(frozen=True)
class NoOptions:
    """The options of a network that has none."""


@dataclass(frozen=True)
class Grammar:
    """The tokens that may follow a family's name, in any order.

    Attributes:
        options: Frozen dataclass that the tokens fill; its defaults are left out of canonical names.
        words: Token → (field, value); the first word of a meaning is the canonical one.
        numbers: What stands before a number → the field it fills.
        always: Fields that are spelled even where they have their default.
    """

    options: type = NoOptions
    words: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    always: tuple[str, ...] = ()

    def read(self, name: str, tokens: list[str]) -> Any:
        """Return the options that tokens stand for.

        Args:
            name: The whole name, for messages.
            tokens: What follows the family's name.

        Raises:
            UnknownNameError: If a token means nothing here; the message names the nearest.
            UsageError: If an option is out of range.
        """
        values: dict[str, Any] = {}
        for token in tokens:
            prefix = token.rstrip(_DIGITS)
            if token in self.words:
                key, value = self.words[token]
            elif prefix != token and prefix in self.numbers:
                key, value = self.numbers[prefix], int(token[len(prefix) :])
            elif not self.words:
                raise UnknownNameError(f"network '{name}': takes no options, got '{token}'")
            else:
                raise UnknownNameError(f"network '{name}': unknown option '{token}'{nearest(token, self.words)}")
            values[key] = value
        return self.options(**values)

    def spell(self, family: str, options: Any) -> str:
        """Return the canonical name."""
        values = {item.name: getattr(options, item.name) for item in fields(self.options)}
        told = [key for key, value in values.items() if key in self.always or value != getattr(self.options(), key)]
        return "-".join([family, *(self._spelling(key, values[key]) for key in told)])

    def _spelling(self, key: str, value: Any) -> str:
        words = (word for word, meaning in self.words.items() if meaning == (key, value))
        prefixes = (prefix for prefix, filled in self.numbers.items() if filled == key)
        return next(words, "") or f"{next(prefixes)}{value}"

    def __str__(self) -> str:
        """Return the tokens, for people."""
        return ", ".join([*(f"{prefix}<{key}>" for prefix, key in self.numbers.items()), *self.words])
