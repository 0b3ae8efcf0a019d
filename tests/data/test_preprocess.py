"""Maps between pixels and the space a network sees."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datadistill.core.errors import ConfigError, CorruptFileError, DataError, UnknownNameError
from datadistill.data import preprocess as module
from datadistill.data import zca
from datadistill.data.base import RealData
from datadistill.data.npz import from_arrays
from datadistill.data.preprocess import (
    Normalise,
    Plain,
    Preprocess,
    fit_preprocess,
    load_preprocess,
    measure_constants,
)
from datadistill.data.zca import Zca, fit_zca

CHOICES = ["normalise", "normalise:measured", "zca", "zca:0.01", "none"]


def pixels(count: int = 12, *shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *(shape or (3, 4, 4))), generator=generator, dtype=torch.uint8)


def some_data(seed: int = 0) -> RealData:
    images = pixels(seed=seed)
    return from_arrays(images, torch.arange(12) % 2, pixels(4, seed=9), torch.arange(4) % 2)


@pytest.mark.parametrize("choice", CHOICES)
def test_laws_of_every_preprocessing(choice: str) -> None:
    data = some_data()
    fitted = fit_preprocess(choice, data)
    images = data.test.images
    seen = fitted(images)
    assert isinstance(fitted, Preprocess)
    assert seen.dtype == torch.float32
    assert torch.equal(fitted.invert(seen), images)
    torch.testing.assert_close(fitted.to_pixels(seen), images / 255, atol=1e-6, rtol=0)
    torch.testing.assert_close(fitted.from_pixels(images / 255), seen, atol=1e-6, rtol=1e-6)
    assert fitted(images[:0]).shape == (0, 3, 4, 4)
    assert torch.equal(fitted.to(torch.device("cpu"))(images), seen)
    assert torch.equal(pickle.loads(pickle.dumps(fitted))(images), seen)
    assert fitted.to_pixels(10 * seen + 3).max() > 1


@pytest.mark.parametrize("choice", CHOICES)
def test_description_and_tensors_are_enough(choice: str) -> None:
    data = some_data()
    fitted = fit_preprocess(choice, data)
    described = json.loads(json.dumps(fitted.description))
    loaded = load_preprocess(described, fitted.tensors())
    assert loaded.description == fitted.description
    assert torch.equal(loaded(data.test.images), fitted(data.test.images))
    assert load_preprocess(described, fitted.tensors(), torch.float64)(data.test.images).dtype == torch.float64


@pytest.mark.parametrize("choice", CHOICES)
def test_to_pixels_and_back_let_gradients_through(choice: str) -> None:
    fitted = fit_preprocess(choice, some_data())
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    fitted.to_pixels(fitted.from_pixels(images)).sum().backward()
    assert images.grad is not None
    torch.testing.assert_close(images.grad, torch.ones_like(images), atol=1e-4, rtol=0)
    assert not fitted.invert(images).requires_grad


def test_normalise_is_what_the_field_computes_to_the_bit() -> None:
    constants = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    mean, std = (torch.tensor(values)[:, None, None] for values in constants)
    assert torch.equal(Normalise(constants)(images), (images.float() / 255 - mean) / std)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=4, max_dims=4, max_side=4)))
def test_measured_constants_are_mean_and_deviation(array: np.ndarray[Any, Any]) -> None:
    mean, std = measure_constants(torch.from_numpy(array))
    channels = array.swapaxes(0, 1).reshape(array.shape[1], -1) / 255
    np.testing.assert_allclose(mean, channels.mean(1), atol=1e-12)
    expected = channels.std(1)
    np.testing.assert_allclose(std, np.where(expected < 1e-9, 1, expected), atol=1e-12)


def test_measured_normalisation_has_mean_0_and_deviation_1() -> None:
    data = some_data()
    seen = fit_preprocess("normalise:measured", data)(data.train.images)
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_named_constants() -> None:
    data = some_data()
    named = {"first": ((0.1,) * 3, (0.2,) * 3), "second": ((0.3,) * 3, (0.4,) * 3)}
    data = RealData(type(data.card)(**{**vars(data.card), "constants": named}), data.train, data.validation, data.test)
    assert fit_preprocess("normalise", data).description["mean"] == [0.1] * 3
    assert fit_preprocess("normalise:second", data).description["std"] == [0.4] * 3
    assert fit_preprocess("normalise:measured", data).description["mean"] != [0.1] * 3
    with pytest.raises(UnknownNameError, match=r"^unknown constants of 'arrays' 'secnd'; did you mean 'second'?"):
        fit_preprocess("normalise:secnd", data)
    with pytest.raises(UnknownNameError, match=r"'measurd'; did you mean 'measured'?"):
        fit_preprocess("normalise:measurd", data)


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        ("normalize", UnknownNameError, "unknown preprocessing 'normalize'; did you mean 'normalise'?"),
        ("whiten", UnknownNameError, "unknown preprocessing 'whiten'; valid: none, normalise, zca"),
        ("none:x", ConfigError, "preprocessing 'none' takes no option, got 'x'"),
        ("zca:0", ConfigError, "zca: eps must be a positive number, got '0'"),
        ("zca:nan", ConfigError, "got 'nan'"),
        ("zca:big", ConfigError, "got 'big'"),
    ],
)
def test_wrong_choices(choice: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        fit_preprocess(choice, some_data())


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"name": "zac"}, "unknown preprocessing 'zac'; did you mean 'zca'?"),
        ({}, "unknown preprocessing 'None'"),
        ({"name": "normalise", "mean": [1]}, "incomplete description (KeyError('std'))"),
        ({"name": "normalise", "mean": [1], "std": ["x"]}, "incomplete description (ValueError"),
        ({"name": "normalise", "mean": [1.0], "std": [0.0]}, "are not constants per channel"),
        ({"name": "normalise", "mean": [1.0, 2.0], "std": [1.0]}, "are not constants per channel"),
    ],
)
def test_wrong_descriptions(description: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_preprocess(description, {})


def test_other_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^normalise: 3 constants for 1 channels$"):
        Normalise(((0.0,) * 3, (1.0,) * 3))(pixels(2, 1, 4, 4))
    with pytest.raises(ConfigError, match=re.escape("zca: fitted to 48 values per image, got [1, 4, 4]")):
        fit_zca(pixels())(pixels(2, 1, 4, 4))


def reference(images: np.ndarray[Any, Any], eps: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The formula, one entry at a time."""
    rows = images.reshape(len(images), -1) / 255
    mean = rows.mean(0)
    covariance = sum(np.outer(row - mean, row - mean) for row in rows) / (len(rows) - 1)
    u, s, _ = np.linalg.svd(covariance)
    return (rows - mean) @ (u @ np.diag(1 / np.sqrt(s + eps)) @ u.T), u @ np.diag(np.sqrt(s + eps)) @ u.T


@settings(max_examples=20)
@given(st.integers(2, 30), st.sampled_from([1, 3]), st.floats(1e-3, 1), st.integers(0, 99))
def test_zca_is_the_formula_and_cancels(count: int, channels: int, eps: float, seed: int) -> None:
    images = pixels(count, channels, 3, 2, seed=seed)
    fitted = fit_zca(images, eps, dtype=torch.float64)
    expected, inverse = reference(images.numpy(), eps)
    seen = fitted(images)
    np.testing.assert_allclose(seen.flatten(1).numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(fitted.inverse.numpy(), inverse, atol=1e-9)
    torch.testing.assert_close(fitted.to_pixels(seen), images.double() / 255, atol=1e-9, rtol=0)
    single = fit_zca(images, eps)
    assert torch.equal(single.invert(single(images)), images)


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=4, max_dims=4, max_side=4)),
    st.lists(st.tuples(st.floats(-2, 2), st.floats(1e-2, 1e2)), min_size=4, max_size=4),
)
def test_normalisation_and_its_inverse_cancel(array: np.ndarray[Any, Any], pairs: list[tuple[float, float]]) -> None:
    images = torch.from_numpy(array)
    mean, std = zip(*pairs[: images.shape[1]], strict=True)
    fitted = Normalise((mean, std))
    seen = fitted(images)
    assert torch.equal(fitted.invert(seen), images)
    torch.testing.assert_close(fitted.from_pixels(fitted.to_pixels(seen)), seen, atol=1e-3, rtol=1e-3)


@settings(max_examples=20)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(2, 9), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))))
def test_whitening_of_anything_is_finite_and_cancels(array: np.ndarray[Any, Any]) -> None:
    images = torch.from_numpy(array)
    fitted = fit_zca(images)
    seen = fitted(images)
    assert seen.isfinite().all()
    assert torch.equal(fitted.invert(seen), images)


def test_zca_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pixels(50)
    whole = fit_zca(images, dtype=torch.float64)
    monkeypatch.setattr(zca, "_ROWS", 7)
    parts = fit_zca(images, dtype=torch.float64)
    torch.testing.assert_close(parts.matrix, whole.matrix)
    torch.testing.assert_close(parts(images), whole(images))


def test_zca_of_one_image_is_refused() -> None:
    with pytest.raises(DataError, match=r"^zca: needs at least two training images, got 1$"):
        fit_zca(pixels(1))


def test_zca_is_fitted_to_the_training_split_only() -> None:
    data = some_data()
    assert torch.equal(fit_preprocess("zca", data).tensors()["matrix"], fit_zca(data.train.images).matrix)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every whitening that is computed."""
    calls: list[int] = []
    monkeypatch.setattr(zca, "fit_zca", lambda images, *a, **k: (calls.append(1), fit_zca(images, *a, **k))[1])
    return calls


def test_cache_is_used_and_keyed_by_everything_that_matters(tmp_path: Path, fits: list[int]) -> None:
    first = fit_preprocess("zca", some_data(), tmp_path)
    again = fit_preprocess("zca", some_data(), tmp_path)
    assert len(fits) == 1
    assert first.description == again.description
    assert torch.equal(first.tensors()["matrix"], again.tensors()["matrix"])
    data = some_data()
    card = type(data.card)(**{**vars(data.card), "split": "another"})
    fit_preprocess("zca", RealData(card, data.train, data.validation, data.test), tmp_path)
    fit_preprocess("zca:0.2", data, tmp_path)
    fit_preprocess("zca", some_data(seed=1), tmp_path)
    assert len(fits) == 4
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", [lambda b: b[:-8], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""])
def test_damaged_cache_is_computed_anew(tmp_path: Path, fits: list[int], damage: Any) -> None:
    fit_preprocess("zca", some_data(), tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    fit_preprocess("zca", some_data(), tmp_path)
    assert len(fits) == 2
    assert path.read_bytes() == whole


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot keep the whitening matrix here"):
        fit_preprocess("zca", some_data(), tmp_path / "file")


def test_wrong_whitening_tensors_are_noticed() -> None:
    fitted = fit_preprocess("zca", some_data())
    tensors = fitted.tensors()
    for other, message in (
        ({**tensors, "mean": tensors["mean"] + 1}, "not those on the card"),
        ({**tensors, "mean": tensors["mean"][:3]}, "do not belong together"),
        ({"mean": tensors["mean"]}, "needs the tensors mean, matrix and inverse"),
    ):
        with pytest.raises(CorruptFileError, match=message):
            load_preprocess(fitted.description, other)
    with pytest.raises(ConfigError, match=r"incomplete description \(KeyError\('eps'\)\)"):
        load_preprocess({"name": "zca"}, tensors)


def test_every_implementation_is_a_preprocess() -> None:
    assert {Normalise, Plain, Zca} <= {entry for entry in (*vars(module).values(), Zca) if isinstance(entry, type)}


@pytest.mark.gpu
@pytest.mark.parametrize("choice", CHOICES)
def test_same_on_the_gpu(choice: str) -> None:
    data, device = some_data(), torch.device("cuda")
    fitted = fit_preprocess(choice, data)
    expected = fitted(data.test.images)
    for one in (fitted, fitted.to(device), fit_preprocess(choice, data.to(device))):
        seen = one(data.test.images.to(device))
        assert seen.is_cuda
        torch.testing.assert_close(seen.cpu(), expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(one.invert(seen).cpu(), data.test.images)
