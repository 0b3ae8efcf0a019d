"""Laws that every method obeys."""

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path

import pytest
import torch

import tiny
from datadistill.config import RunConfig, from_toml, load_recipe, recipes, to_toml
from datadistill.core.randomness import Randomness
from datadistill.core.resumable import Resumable
from datadistill.distill import distill
from datadistill.methods import METHODS, Method, step
from datadistill.methods.base import SetState, begin
from datadistill.runtime.atomic import checksum

ROOT = Path(__file__).parents[2]
ITERATIONS = 5

every_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("experts")


@pytest.fixture
def problem(store):
    return tiny.problem(store)


def run(name, problem, *, seed=0, iterations=ITERATIONS, **options):
    method = tiny.SETTINGS[name].method
    return distill(method, problem, iterations=iterations, rng=Randomness(seed), **options).export()


def copies(tensors):
    return {key: tensor.clone() for key, tensor in tensors.items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def started(name, problem, iterations=1, seed=0):
    """A state with momentum in it."""
    method, rng = tiny.SETTINGS[name].method, Randomness(seed)
    state = begin(method, problem, rng)
    for i in range(1, iterations + 1):
        step(method, problem, state, rng.at(i))
    return method, state


def test_every_method_has_a_setting_here():
    assert set(tiny.SETTINGS) == set(METHODS)


@every_method
class TestProtocol:
    def test_is_a_frozen_value(self, name, problem):
        method = tiny.SETTINGS[name].method
        assert isinstance(method, METHODS[name].cls)
        assert isinstance(method, Method)
        assert is_dataclass(method)
        assert replace(method) == method
        assert hash(replace(method)) == hash(method)
        with pytest.raises(FrozenInstanceError):
            setattr(method, fields(method)[0].name, 1)

    def test_state_is_a_resumable_set(self, name, problem):
        _, state = started(name, problem)
        assert isinstance(state, Resumable)
        assert isinstance(state, SetState)
        assert state.images.shape == problem.initial_images.shape
        assert state.targets.shape == problem.initial_targets.shape

    def test_starts_from_the_initial_images(self, name, problem):
        method = tiny.SETTINGS[name].method
        state = method.init(problem, Randomness(0))
        if tiny.SETTINGS[name].own_start:
            assert torch.equal(state.targets.argmax(1), problem.initial_targets.argmax(1))
        else:
            assert torch.equal(state.images, problem.initial_images)
            assert torch.equal(state.targets, problem.initial_targets)
        assert state.images.data_ptr() != problem.initial_images.data_ptr()

    def test_says_what_it_needs(self, name, problem):
        method = tiny.SETTINGS[name].method
        assert method.needs <= {"experts", "teachers"}
        assert (method.expert_epochs_needed > 0) == ("experts" in method.needs)
        if method.unrolled is not None:
            assert method.unrolled.steps >= 1

    def test_metrics_are_detached_scalars(self, name, problem):
        method, state = started(name, problem)
        metrics, gradients = method.gradient(problem, state, Randomness(0).at(2))
        assert tiny.SETTINGS[name].objective in metrics
        assert all(value.shape == () and not value.requires_grad for value in metrics.values())
        values = state.tensors()
        for key, gradient in gradients.items():
            assert gradient.shape == values[key].shape
            assert gradient.isfinite().all()
            assert not gradient.requires_grad
        kept = copies(metrics)
        state.update(gradients)
        assert same(metrics, kept), "a metric is a view of the state"


@every_method
class TestRandomness:
    def test_same_seed_same_bits_whatever_the_global_seed(self, name, problem, global_generators):
        results = []
        for seed in (1, 2):
            torch.default_generator.manual_seed(seed)
            results.append(run(name, problem))
        assert same(results[0].tensors(), results[1].tensors())

    def test_the_global_generators_stay_where_they_are(self, name, problem):
        run(name, problem)  # watched by a fixture in tests/conftest.py

    def test_two_seeds_differ(self, name, problem):
        assert not torch.equal(run(name, problem).images, run(name, problem, seed=1).images)

    def test_an_iteration_draws_the_same_whatever_came_before(self, name, problem):
        method, state = started(name, problem, iterations=2)
        metrics, gradients = method.gradient(problem, state, Randomness(0).at(7))
        method.gradient(problem, state, Randomness(0).at(3))
        again, gradients_again = method.gradient(problem, state, Randomness(0).at(7))
        assert same(metrics, again)
        assert same(gradients, gradients_again)


@every_method
class TestPurity:
    def test_the_problem_is_left_alone(self, name, problem):
        data = problem.data

        def everything():
            splits = (data.train, data.validation, data.test)
            tensors = [tensor for split in splits for tensor in (split.images, split.labels)]
            return [*tensors, problem.initial_images, problem.initial_targets]

        before = [tensor.clone() for tensor in everything()]
        files = {path: checksum(path) for path in problem.experts.folder.rglob("*") if path.is_file()}
        run(name, problem)
        assert all(torch.equal(*pair) for pair in zip(before, everything(), strict=True))
        assert files == {path: checksum(path) for path in problem.experts.folder.rglob("*") if path.is_file()}

    def test_gradient_and_export_leave_the_state_alone(self, name, problem):
        method, state = started(name, problem, iterations=2)
        before = copies(state.tensors())
        method.gradient(problem, state, Randomness(0).at(3))
        method.export(problem, state)
        assert same(state.tensors(), before)
        assert not any(tensor.requires_grad for tensor in state.tensors().values())

    def test_advance_leaves_the_set_alone(self, name, problem):
        method, state = started(name, problem, iterations=2)
        before = copies(method.export(problem, state).tensors())
        method.advance(problem, state, Randomness(0).at(3))
        assert same(method.export(problem, state).tensors(), before)

    def test_an_exported_set_does_not_change_any_more(self, name, problem):
        method, state = started(name, problem)
        exported = method.export(problem, state)
        before = copies(exported.tensors())
        step(method, problem, state, Randomness(0).at(2))
        assert same(exported.tensors(), before)
        assert not torch.equal(method.export(problem, state).images, exported.images)


@every_method
def test_the_other_sets_are_those_that_were_announced(name, problem):
    method = tiny.SETTINGS[name].method
    state = method.init(problem, Randomness(0).at(0))
    assert tuple(method.variants(problem, state)) == method.variant_names


@every_method
def test_export_is_a_set(name, problem):
    result = run(name, problem)
    n, (c, h, w) = tiny.CLASSES * tiny.IPC, tiny.SHAPE
    assert result.images.shape == (n, c, h, w)
    assert result.targets.shape == (n, tiny.CLASSES)
    for tensor in result.tensors().values():
        assert not tensor.requires_grad
        assert tensor.isfinite().all()
    if not result.logits:
        labels = result.targets.argmax(1)
        assert labels.tolist() == sorted(labels.tolist())
        assert torch.bincount(labels).tolist() == [tiny.IPC] * tiny.CLASSES
    assert not torch.equal(result.images, problem.initial_images)
    if result.student_lr is not None:
        assert (result.student_lr > 0).all()


@every_method
def test_the_objective_falls(name, store):
    problem, setting = tiny.one_objective(store), tiny.SETTINGS[name]
    values = []
    distill(
        setting.fixed,
        problem,
        iterations=12,
        rng=Randomness(0),
        read_every=1,
        observers=[lambda progress: values.append(progress.metrics[0][setting.objective])],
    )
    assert values[-1] < 0.97 * values[0]
    assert values[-1] == min(values)


@every_method
def test_resuming_equals_never_stopping(name, problem):
    saved = {}
    whole = run(name, problem, observers=[lambda p: saved.update({p.iteration: copies(p.state.tensors())})])
    for done, tensors in saved.items():
        rest = {}
        resumed = run(
            name,
            problem,
            resume=(done, copies(tensors)),
            observers=[lambda p, rest=rest: rest.update({p.iteration: copies(p.state.tensors())})],
        )
        assert same(resumed.tensors(), whole.tensors()), f"resumed after {done}"
        assert list(rest) == list(range(done + 1, ITERATIONS + 1))
        assert all(same(rest[i], saved[i]) for i in rest)


@every_method
def test_the_state_holds_everything_it_needs(name, problem):
    """A state made by another seed and restored is the same state."""
    method, state = started(name, problem, iterations=3)
    other = method.init(problem, Randomness(99))
    other.restore(copies(state.tensors()))
    assert same(other.tensors(), state.tensors())
    for each in (state, other):
        step(method, problem, each, Randomness(0).at(4))
    assert same(other.tensors(), state.tensors())


@every_method
@pytest.mark.parametrize("strategy", ["adjoint", "stored"])
@pytest.mark.parametrize("augment", ["none", "dsa@multiple"])
def test_the_gradient_agrees_with_finite_differences(name, store, strategy, augment):
    """Along random directions in the learned tensors, in float64, on a smooth network."""
    setting = tiny.SETTINGS[name]
    options = {"network": tiny.SMOOTH_NETWORK, "dtype": torch.float64, "strategy": strategy}
    problem = tiny.problem(store, augment=augment, **options)
    state, rng = begin(setting.method, problem, Randomness(0)), Randomness(0).at(1)
    _, gradients = setting.method.gradient(problem, state, rng)
    assert "images" in gradients

    def objective():
        return setting.method.gradient(problem, state, rng)[0][setting.objective].item()

    for key, gradient in gradients.items():
        value = state.tensors()[key]
        assert value.dtype == torch.float64
        eps = 1e-5 * max(value.abs().max().item(), 1e-3)
        for direction in (torch.sign(gradient), torch.randn(value.shape, generator=rng.stream(key)).double()):
            along = []
            before = value.clone()
            for sign in (1, -1):
                value.copy_(before + sign * eps * direction)
                along.append(objective())
            value.copy_(before)
            numerical = (along[0] - along[1]) / (2 * eps)
            analytic = (gradient * direction).sum().item()
            assert numerical == pytest.approx(analytic, rel=1e-5, abs=1e-9), key


@every_method
def test_terms_are_added_to_the_objective(name, problem, monkeypatch):
    calls, updates = [], []

    def term(images, targets, rng):
        calls.append((images.clone(), targets.clone(), rng))
        return torch.tensor(2.5), {"images": torch.full_like(images, 3.0), "targets": torch.ones_like(targets)}

    method, rng = tiny.SETTINGS[name].method, Randomness(0)
    state = begin(method, problem, rng)
    before = state.images.clone()
    alone, gradients = method.gradient(problem, state, rng.at(1))
    monkeypatch.setattr(state, "update", updates.append)
    metrics = step(method, replace(problem, terms={"first": term, "second": term}), state, rng.at(1))
    assert same({key: metrics.pop(key) for key in alone}, alone)
    assert {key: value.item() for key, value in metrics.items()} == {"first": 2.5, "second": 2.5}
    expected = {"targets": torch.zeros_like(state.targets), **gradients}
    expected["images"] = expected["images"] + 3.0 + 3.0
    expected["targets"] = expected["targets"] + 1.0 + 1.0
    assert same(updates[0], expected)
    assert all(torch.equal(images, before) for images, _, _ in calls)
    assert calls[0][2] != calls[1][2], "terms share their draws"


@every_method
class TestRegistration:
    def test_a_configuration_survives_toml(self, name):
        config = RunConfig(
            dataset="digits",
            validation=0,
            ipc=tiny.IPC,
            iterations=3,
            method=tiny.SETTINGS[name].method,
            network="convnet-1",
        )
        assert config.method_name == name
        again = from_toml(to_toml(config), source="test")
        assert again == config
        assert type(again.method) is METHODS[name].cls

    def test_every_field_survives_toml(self, name):
        """Fields left out, and fields that are whole numbers where fractions are meant."""
        method = tiny.SETTINGS[name].fixed
        text = to_toml(RunConfig(dataset="digits", validation=0, ipc=tiny.IPC, iterations=3, method=method))
        assert from_toml(text, source="test").method == method
        assert from_toml(text.replace(".0\n", "\n"), source="test").method == method

    def test_has_a_recipe(self, name):
        assert name in {load_recipe(recipe).method_name for recipe in recipes()}

    def test_has_a_citation(self, name):
        entry = METHODS[name]
        assert len(entry.summary) < 80
        assert any(char.isdigit() for char in entry.paper)
        assert entry.bibtex.startswith("@")
        assert entry.bibtex.count("{") == entry.bibtex.count("}")
        for field in ("title", "author", "year"):
            assert f"{field} " in entry.bibtex

    def test_has_a_page(self, name):
        page = ROOT / "docs" / "methods" / f"{name}.md"
        assert page.is_file(), "write docs/methods/<name>.md"
        text = page.read_text()
        undocumented = [field.name for field in fields(METHODS[name].cls) if field.name not in text]
        assert not undocumented, f"fields that {page.name} does not mention"

    def test_its_file_names_the_paper_and_the_differences(self, name):
        module = __import__(METHODS[name].cls.__module__, fromlist=["_"])
        assert "Differences from the reference implementation" in (module.__doc__ or "")


@pytest.mark.slow
@every_method
def test_a_network_trained_on_the_result_beats_random_real_images(name, store):
    from datadistill.evaluate import baselines, protocol
    from datadistill.evaluate import run as judging

    data = tiny.real_data(train_per_class=100, test_per_class=100, signal=40, noise=200)
    problem = tiny.problem(store, data=data)
    synthetic = run(name, problem, iterations=100)
    short = protocol.Protocol(networks=3, epochs=60, batch_size=64, lr=0.02)
    ours = judging.Subject("synthetic", "", (judging.synthetic_examples(synthetic),), 0.02)
    others = baselines.random_real(data, problem.preprocess, ipc=tiny.IPC, draws=6, lr=0.02, rng=Randomness(0))
    test = judging.real_examples(data, problem.preprocess, "test")
    first, second = judging.judge(
        [ours, others], short, network=problem.network, augment="none", test=test, rng=Randomness(0)
    )
    assert first.mean > second.mean + 0.02, (first, second)
