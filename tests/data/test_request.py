"""Names with options, and the form they ask for."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistill.core.errors import ConfigError, UnknownNameError
from datadistill.data.catalogue import ALIASES, DATASETS, named
from datadistill.data.request import Form, chosen, parse_form


@pytest.mark.parametrize(
    ("name", "key", "form"),
    [
        ("mnist-rgb", "mnist", Form(rgb=True)),
        ("MNIST_RGB", "mnist", Form(rgb=True)),
        ("usps-28", "usps", Form(size=(28, 28))),
        ("fashion-mnist-rgb-32x48-crop", "fashion-mnist", Form(size=(32, 48), resize="crop", rgb=True)),
        ("imagenette", "imagenette", Form(size=(128, 128), rgb=True)),
        ("imagenette-64-crop", "imagenette", Form(size=(64, 64), resize="crop", rgb=True)),
        ("imagenet-a-32", "imagenet-a", Form(size=(32, 32), rgb=True)),
        ("imagenet-32", "imagenet", Form(size=(32, 32), rgb=True)),
        ("tiny-imagenet", "tiny-imagenet", Form(size=(64, 64), rgb=True)),
    ],
)
def test_options_follow_the_name(name: str, key: str, form: Form) -> None:
    found, entry, parsed = named(name)
    assert (found, parsed) == (key, form)
    assert entry is DATASETS[key]


def test_every_alias_is_a_name() -> None:
    assert all(named(alias)[0] in DATASETS for alias in ALIASES)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("mnist-rbg", UnknownNameError, "data set 'mnist-rbg': unknown option 'rbg'; did you mean 'rgb'?"),
        ("mnist-", UnknownNameError, "data set 'mnist-': unknown option ''"),
        ("mnist-3x4x5", UnknownNameError, "unknown option '3x4x5'"),
        ("mnist-0", ConfigError, "size 0x0: each side must be between 1 and 4096"),
        ("mnist-99999", ConfigError, "size 99999x99999: each side must be"),
        ("imagenete", UnknownNameError, "unknown data set 'imagenete'; did you mean 'imagenette'?"),
    ],
)
def test_wrong_names(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        named(name)


FORMS = st.builds(
    Form,
    size=st.none() | st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    resize=st.sampled_from(["squash", "crop"]),
    rgb=st.booleans(),
)


@given(FORMS)
def test_a_form_is_read_from_its_own_suffix(form: Form) -> None:
    tokens = form.suffix(Form()).split("-")[1:]
    assert parse_form("x", tokens, Form()) == form


def test_chosen_classes() -> None:
    names = ("cat", "dog", "cow")
    assert chosen(names, None, "pets") == [0, 1, 2]
    assert chosen(names, ("cow", 0), "pets") == [2, 0]
    for wanted, message in (
        (("cot",), "pets: no class 'cot'; did you mean 'cow'?"),
        ((3,), "pets: no class 3; there are 3, counted from 0"),
        ((-1,), "pets: no class -1"),
        ((), "pets: classes must name at least one class"),
        (("cat", 0), "and none of them twice"),
    ):
        with pytest.raises((UnknownNameError, ConfigError), match=re.escape(message)):
            chosen(names, wanted, "pets")
