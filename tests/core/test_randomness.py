"""Named streams: what they depend on, what they do not, and that their numbers never change."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datadistill.core.randomness import Randomness

GOLDEN = {
    Randomness(0): 6015857515507525425,
    Randomness(1): 4319952044768600023,
    Randomness(-1): 7269936001374542900,
    Randomness(0).at(5): 7853320530471137857,
    Randomness(0).child("expert", 3): 5748018474140609430,
    Randomness(0).at(5).child("expert", 3): 3929069953412017615,
    Randomness(0).at(5).child("expert", 3).at(7): 7080777066023095597,
}
names = st.text(max_size=3)
sources = st.builds(
    Randomness,
    st.integers(-3, 3),
    st.lists(st.one_of(names, st.integers(1, 9)), max_size=3).map(tuple),
    st.integers(0, 9),
)


@pytest.mark.parametrize("source", GOLDEN, ids=repr)
def test_numbers_are_the_same_in_every_version(source: Randomness) -> None:
    assert source.number("images") == GOLDEN[source]


def test_streams_are_the_same_in_every_version() -> None:
    drawn = torch.randint(1000, (5,), generator=Randomness(0).stream("images")).tolist()
    assert drawn == [752, 604, 782, 788, 52]


@given(sources, sources, names, names)
def test_number_depends_on_seed_scope_iteration_and_purpose_only(
    one: Randomness, other: Randomness, purpose: str, another: str
) -> None:
    assert (one.number(purpose) == other.number(another)) == ((one, purpose) == (other, another))


@given(sources, names)
def test_number_fits_a_signed_64_bit_seed(source: Randomness, purpose: str) -> None:
    assert 0 <= source.number(purpose) < 2**63


def test_drawing_from_one_stream_does_not_shift_another() -> None:
    source = Randomness(3)
    alone = torch.rand(4, generator=source.stream("b"))
    torch.rand(100, generator=source.stream("a"))
    assert torch.equal(torch.rand(4, generator=source.stream("b")), alone)


def test_streams_of_different_purposes_are_uncorrelated() -> None:
    source = Randomness(3)
    drawn = torch.stack([torch.randn(10_000, generator=source.stream(str(i))) for i in range(8)])
    correlation = torch.corrcoef(drawn) - torch.eye(8)
    assert correlation.abs().max() < 0.05


def test_at_moves_and_keeps_seed_and_scope() -> None:
    source = Randomness(3, ("a",), 4)
    assert source.at(9) == Randomness(3, ("a",), 9)
    assert source.at(9).at(4) == source


def test_a_child_starts_at_iteration_0_and_at_0_changes_nothing() -> None:
    source = Randomness(3)
    assert source.at(0).child("x") == source.child("x") == source.child("x").at(0)
    assert source.at(8).child("x").iteration == 0


def test_children_join_into_one_scope_and_numbers_are_names() -> None:
    source = Randomness(3)
    assert source.child("expert", 3) == source.child("expert").child("3")


def test_children_of_different_iterations_names_and_depths_are_distinct() -> None:
    source = Randomness(3)
    family = [
        source,
        source.at(5),
        source.child("x"),
        source.child("x").at(5),
        source.at(5).child("x"),
        source.at(5).child("x").at(5),
        source.at(15).child("x"),
        source.child("at5", "x"),
        source.child(5, "x"),
        source.child("5", "x", "x"),
        source.child("x", 5),
        source.child("x", "x"),
        source.child("xx"),
        source.child("x").at(5).child("x"),
        source.child(""),
    ]
    for one, other in itertools.combinations(family, 2):
        assert one.number("images") != other.number("images"), (one, other)


def test_a_child_needs_a_name() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        Randomness(3).child()


def test_a_seed_of_numpy_is_the_number_it_stands_for() -> None:
    source = Randomness(3)
    object.__setattr__(source, "seed", np.int64(3))
    assert source.number("images") == Randomness(3).number("images")
