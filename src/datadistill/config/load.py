"""TOML ⇄ RunConfig, strict; recipes by name; ``--set key=value``."""

import dataclasses
import json
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from datadistill.config.schema import RunConfig
from datadistill.core.errors import ConfigError, UnknownNameError, UsageError, nearest
from datadistill.core.registry import find
from datadistill.core.structure import parse_value, structure, unstructure
from datadistill.data import check_name
from datadistill.methods import METHODS
from datadistill.methods.terms import TERMS

_RECIPES = resources.files("datadistill.config") / "recipes"


def recipes() -> dict[str, str]:
    """Return the text of every recipe that comes with the package, by name."""
    files = sorted(_RECIPES.iterdir(), key=lambda item: item.name)
    return {
        item.name.removesuffix(".toml"): item.read_text(encoding="utf-8")
        for item in files
        if item.name.endswith(".toml")
    }


def load_recipe(name: str, settings: tuple[str, ...] = (), data_root: Path | None = None) -> RunConfig:
    """Return a recipe: by name, or from a TOML file of the user's.

    Args:
        name: Name of a recipe, or a path that ends in ``.toml``.
        settings: ``key=value`` changes, applied in order.
        data_root: Below which the data set will be looked for; absent where that is not decided, or the data are
            the caller's own, and then any name will do.

    Raises:
        ConfigError: If a file cannot be read, a key or value is not valid, or there is no such data set.
        UnknownNameError: If there is no such recipe.
    """
    source, text = (
        (name, _read(name)) if name.endswith(".toml") else (f"recipe {name}", find(recipes(), name, "recipe"))
    )
    config = from_toml(text, source=source, settings=settings)
    if data_root is not None:
        try:
            check_name(config.dataset, data_root)
        except UsageError as error:
            raise ConfigError(f"{source}: dataset: {error}") from error
    return config


def load_stored(path: Path, settings: tuple[str, ...] = ()) -> RunConfig:
    """Return the configuration that a run directory holds, also one that an earlier version wrote.

    Args:
        path: The ``config.toml``.
        settings: ``key=value`` changes, applied in order.

    Raises:
        ConfigError: If it cannot be read, or a key or value is not valid.
    """
    data = _parsed(_read(str(path)), str(path))
    _drop_without_effect(data)
    return _structured(data, str(path), settings)


def _drop_without_effect(data: dict[str, Any]) -> None:
    """Take out, in place, what earlier versions wrote into every run and is refused now, for it decides nothing."""
    methods, experts = data.get("method"), data.get("experts")
    for table in methods.values() if isinstance(methods, dict) else ():
        if isinstance(table, dict) and "average_decay" not in table:
            table.pop("average_corrected", None)
    if not isinstance(experts, dict):
        return
    if experts.get("schedule") != "step":
        experts.pop("decay_at", None)
    if "imported" in experts:
        data["experts"] = {key: experts[key] for key in ("count", "imported") if key in experts}


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: cannot be read ({error})") from error


def from_toml(text: str, *, source: str, settings: tuple[str, ...] = ()) -> RunConfig:
    """Return the configuration in ``text``.

    Raises:
        ConfigError: If it is not TOML, or a key or value is not valid.
    """
    return _structured(_parsed(text, source), source, settings)


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not TOML: {error}") from error


def _structured(data: dict[str, Any], source: str, settings: tuple[str, ...]) -> RunConfig:
    apply_settings(data, settings)
    tables = data.pop("method", None)
    if not isinstance(tables, dict) or len(tables) != 1:
        raise ConfigError(f"{source}: exactly one table [method.<name>] is needed; methods: {', '.join(METHODS)}")
    ((name, fields),) = tables.items()
    method = structure(_class("method", name, source), fields, source=source, key=f"method.{name}")
    tables = data.pop("terms", {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{source}: terms are tables [terms.<name>]; terms: {', '.join(TERMS)}")
    terms = {
        name: structure(_class("term", name, source), fields, source=source, key=f"terms.{name}")
        for name, fields in tables.items()
    }
    return structure(RunConfig, {**data, "method": method, "terms": terms}, source=source)


def to_toml(config: RunConfig) -> str:
    """Return the complete configuration as TOML; :func:`from_toml` gives it back."""
    data = unstructure(config)
    data["method"] = {config.method_name: data["method"]}
    try:
        import tomli_w  # only writing needs it, and where it is missing plain lines do
    except ImportError:
        return "\n".join(_lines(data)) + "\n"
    return tomli_w.dumps(data)


def _lines(table: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the lines of a TOML table and those below it: strings, numbers, booleans, lists and tables."""
    inner = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    yield from (f"{_word(name)} = {_value(value)}" for name, value in table.items() if name not in inner)
    for name, value in inner.items():
        below = f"{path}{_word(name)}"
        yield from ("", f"[{below}]", *_lines(value, f"{below}."))


def _word(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # the one that JSON does not escape
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def apply_settings(data: dict[str, Any], settings: tuple[str, ...]) -> None:
    """Change plain recipe data by ``key=value`` settings, in place; ``key=`` removes a key.

    Raises:
        ConfigError: If a setting has no ``=``, its key does not exist, or its value has the wrong type.
    """
    for setting in settings:
        source = f"--set {setting}"
        key, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"{source}: expected key=value")
        *path, last = key.strip().split(".")
        hint = _hint_of((*path, last), source)
        inner = _table_of(hint)
        if dataclasses.is_dataclass(inner) and (inner is hint or text.strip() != "none"):
            raise ConfigError(f"{source}: '{key.strip()}' is a table; set one of its keys: {', '.join(_keys(inner))}")
        table = data
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{source}: '{part}' is not a table in the recipe, it is {table!r}")
        value = parse_value(hint, text.strip(), source=source, key=key) if text.strip() else None
        if value is None:
            table.pop(last, None)
        else:
            table[last] = list(value) if isinstance(value, tuple) else value


def _hint_of(path: tuple[str, ...], source: str) -> Any:
    """Return the annotated type of the field at a dotted path."""
    if path[0] in ("method", "terms") and len(path) == 3:  # method.<name>.<field>
        cls: Any = _class(path[0].removesuffix("s"), path[1], source)
        path = path[2:]
    else:
        cls = RunConfig
    hint: Any = cls
    for depth, part in enumerate(path):
        hint = _table_of(hint)
        if not dataclasses.is_dataclass(hint):
            raise ConfigError(f"{source}: '{'.'.join(path[:depth])}' has no keys below it")
        hints = typing.get_type_hints(hint)
        if part not in hints or (hint is RunConfig and part in ("method", "terms")):
            raise ConfigError(f"{source}: unknown key '{'.'.join(path[: depth + 1])}'{nearest(part, _keys(hint))}")
        hint = hints[part]
    return hint


def _table_of(hint: Any) -> Any:
    """Return the dataclass of a table that may be absent; any other type as it is."""
    tables = [option for option in typing.get_args(hint) if dataclasses.is_dataclass(option)]
    return tables[0] if tables else hint


def _class(kind: str, name: str, source: str) -> Any:
    """Return the class behind ``[method.<name>]`` or ``[terms.<name>]``."""
    try:
        return find(METHODS, name, kind).cls if kind == "method" else find(TERMS, name, kind).cls
    except UnknownNameError as error:
        raise ConfigError(f"{source}: {error}") from error


def _keys(cls: Any) -> list[str]:
    fields = [field.name for field in dataclasses.fields(cls)]
    shown = {"method": f"method.<{'|'.join(METHODS)}>.<field>", "terms": f"terms.<{'|'.join(TERMS)}>.<field>"}
    return [shown.get(name, name) for name in fields]
