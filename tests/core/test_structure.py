"""Plain data to frozen dataclasses and back; every kind of bad input gets its one line."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistill.core.errors import ConfigError
from datadistill.core.structure import parse_value, structure, unstructure


@dataclass(frozen=True, kw_only=True)
class Part:
    lr: float = 0.1
    flip: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe:
    ipc: int
    name: str = "r"
    kind: Literal["soft", "hard"] = "soft"
    widths: tuple[int, ...] = (1, 2)
    pair: tuple[str, float] = ("a", 1.0)
    rate: float | None = None
    limit: int | str = 3
    part: Part = field(default_factory=Part)
    other: Part | None = None
    table: dict[str, float] = field(default_factory=dict)
    anything: Any = None
    derived: int = field(init=False, default=7)

    def __post_init__(self) -> None:
        if self.ipc < 1:
            raise ValueError("ipc must be at least 1")


def read(**data: object) -> Recipe:
    return structure(Recipe, {"ipc": 1, **data}, source="r.toml")


parts = st.builds(Part, lr=st.floats(allow_nan=False), flip=st.booleans())
recipes = st.builds(
    Recipe,
    ipc=st.integers(1, 10**6),
    name=st.text(max_size=5),
    kind=st.sampled_from(["soft", "hard"]),
    widths=st.lists(st.integers(), max_size=3).map(tuple),
    pair=st.tuples(st.text(max_size=3), st.floats(allow_nan=False)),
    rate=st.none() | st.floats(allow_nan=False),
    limit=st.integers() | st.text(max_size=3),
    part=parts,
    other=st.none() | parts,
    table=st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=3),
)


@given(recipes)
def test_structure_undoes_unstructure(recipe: Recipe) -> None:
    assert structure(Recipe, unstructure(recipe), source="r.toml") == recipe


def test_plain_data_holds_no_none_no_tuple_and_no_derived_field() -> None:
    assert unstructure(Recipe(ipc=1, table={"a": 1.0})) == {
        "ipc": 1,
        "name": "r",
        "kind": "soft",
        "widths": [1, 2],
        "pair": ["a", 1.0],
        "limit": 3,
        "part": {"lr": 0.1, "flip": False},
        "table": {"a": 1.0},
    }


def test_values_are_converted_only_where_nothing_is_lost() -> None:
    recipe = read(rate=1, widths=[3], pair=["b", 2], part={"lr": 2}, table={"x": 3}, limit="all", anything=[1])
    assert recipe == Recipe(
        ipc=1,
        rate=1.0,
        widths=(3,),
        pair=("b", 2.0),
        part=Part(lr=2.0),
        table={"x": 3.0},
        limit="all",
        anything=[1],
    )
    assert type(recipe.rate) is type(recipe.pair[1]) is type(recipe.part.lr) is float
    assert read(rate=None, other=None) == Recipe(ipc=1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"ipx": 1}, "r.toml: unknown key 'ipx'; did you mean 'ipc'?"),
        ({"part": {"lrs": 1.0}}, "r.toml: unknown key 'part.lrs'; did you mean 'lr'?"),
        ({"part": {"zzzz": 1.0}}, "r.toml: unknown key 'part.zzzz'; valid: flip, lr"),
        ({"derived": 8}, "r.toml: unknown key 'derived'"),
        ({"ipc": "10"}, "r.toml: ipc: expected a whole number, got '10'"),
        ({"ipc": 1.0}, "r.toml: ipc: expected a whole number, got 1.0"),
        ({"ipc": True}, "r.toml: ipc: expected a whole number, got True"),
        ({"ipc": None}, "r.toml: ipc: expected a whole number, got None"),
        ({"ipc": 0}, "r.toml: ipc must be at least 1"),
        ({"name": 3}, "r.toml: name: expected a string, got 3"),
        ({"kind": "sift"}, "r.toml: kind: unknown value 'sift'; did you mean 'soft'?"),
        ({"kind": ["soft"]}, "r.toml: kind: unknown value ['soft']; did you mean 'soft'?"),
        ({"widths": 3}, "r.toml: widths: expected a list (a whole number each), got 3"),
        ({"widths": "12"}, "r.toml: widths: expected a list (a whole number each), got '12'"),
        ({"widths": [1, "x"]}, "r.toml: widths[1]: expected a whole number, got 'x'"),
        ({"pair": ["a"]}, "r.toml: pair: expected 2 entries, got 1"),
        ({"pair": "ab"}, "r.toml: pair: expected a list of 2 entries, got 'ab'"),
        ({"rate": "1e-5"}, "r.toml: rate: expected a number, got '1e-5'"),
        ({"rate": True}, "r.toml: rate: expected a number, got True"),
        ({"limit": 2.5}, "r.toml: limit: expected a whole number or a string, got 2.5"),
        ({"part": 3}, "r.toml: part: expected a table, got 3"),
        ({"part": {"flip": 1}}, "r.toml: part.flip: expected true or false, got 1"),
        ({"other": {"flip": 1}}, "r.toml: other.flip: expected true or false, got 1"),
        ({"other": 3}, "r.toml: other: expected a table, got 3"),
        ({"table": {"x": "y"}}, "r.toml: table.x: expected a number, got 'y'"),
        ({"table": [1]}, "r.toml: table: expected a table, got [1]"),
        ({"name": list(range(99))}, "r.toml: name: expected a string, got [0, 1, 2, 3, "),
    ],
    ids=str,
)
def test_bad_input_names_file_key_and_what_is_valid(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**data)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 130
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, [], 3, "ipc = 1"])
def test_a_record_must_be_a_table(data: object) -> None:
    with pytest.raises(ConfigError, match=r"^r\.toml: expected a table, got"):
        structure(Recipe, data, source="r.toml")


def test_a_missing_key_is_named_with_the_table_it_is_missing_from() -> None:
    with pytest.raises(ConfigError, match=r"^r\.toml: missing key 'ipc'$"):
        structure(Recipe, {}, source="r.toml")
    with pytest.raises(ConfigError, match=r"^r\.toml: missing key 'distill\.ipc'$"):
        structure(Recipe, {}, source="r.toml", key="distill")


def test_a_value_out_of_range_names_its_table() -> None:
    with pytest.raises(ConfigError, match=r"^r\.toml: distill: ipc must be at least 1$"):
        structure(Recipe, {"ipc": 0}, source="r.toml", key="distill")


def test_a_literal_tells_true_from_1() -> None:
    @dataclass(frozen=True)
    class Order:
        order: Literal[1, 2] = 1

    assert structure(Order, {"order": 2}, source="s") == Order(2)
    with pytest.raises(ConfigError, match="order: unknown value True; valid: 1, 2"):
        structure(Order, {"order": True}, source="s")


def test_none_is_refused_where_leaving_the_key_out_would_mean_something_else() -> None:
    @dataclass(frozen=True)
    class Decay:
        decay_at: float | None = 0.5

    with pytest.raises(ConfigError, match=r"Decay\.decay_at: none cannot be stored here"):
        unstructure(Decay(None))


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "1_000", 1000),
        (float, "1e-5", 1e-5),
        (float, "3", 3.0),
        (bool, "True", True),
        (bool, "false", False),
        (str, "none", "none"),
        (str, "3", "3"),
        (float | None, "None", None),
        (float | None, "0.5", 0.5),
        (int | str, "3", 3),
        (int | str, "all", "all"),
        (tuple[int, ...], "1, 2,3", (1, 2, 3)),
        (tuple[int, ...], "", ()),
        (tuple[str, float], "a, 2", ("a", 2.0)),
        (Literal["soft", "hard"], "hard", "hard"),
        (Literal[1, 2], "2", 2),
        (Literal["all"] | int, "3", 3),
        (Literal["soft"] | None, "none", None),
    ],
    ids=str,
)
def test_text_of_the_command_line_becomes_the_annotated_type(hint: object, text: str, value: object) -> None:
    read = parse_value(hint, text, source="--set", key="k")
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("hint", "text", "message"),
    [
        (int, "1e3", "--set: k: expected a whole number, got '1e3'"),
        (int, "none", "--set: k: expected a whole number, got 'none'"),
        (float, "fast", "--set: k: expected a number, got 'fast'"),
        (bool, "1", "--set: k: expected true or false, got '1'"),
        (int | None, "x", "--set: k: expected a whole number, got 'x'"),
        (tuple[int, ...], "1,x", "--set: k: expected a list (a whole number each), got '1,x'"),
        (tuple[str, float], "a", "--set: k: expected a list of 2 entries, got 'a'"),
        (Literal["soft", "hard"], "sift", "--set: k: unknown value 'sift'; did you mean 'soft'?"),
        (Literal["soft"] | None, "sift", "--set: k: unknown value 'sift'; did you mean 'soft'?"),
        (Literal["all"] | int, "some", "--set: k: expected 'all' or a whole number, got 'some'"),
        (Part, "x", "--set: k: expected a table, got 'x'"),
        (dict[str, float], "x", "--set: k: expected a table, got 'x'"),
    ],
    ids=str,
)
def test_bad_text_says_what_was_expected(hint: object, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_value(hint, text, source="--set", key="k")
    assert str(caught.value) == message
