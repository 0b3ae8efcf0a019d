"""Judging sets: the same networks for every set, nothing trained twice, the same result from any executor."""

from dataclasses import dataclass, field, replace

import jaxtyping
import pytest
import torch

import tiny
from datadistill.augment import build_augment
from datadistill.core.errors import DataError, UsageError
from datadistill.core.randomness import Randomness
from datadistill.data import fit_preprocess
from datadistill.evaluate import run as judging
from datadistill.evaluate.baselines import random_real
from datadistill.evaluate.protocol import Protocol, named
from datadistill.evaluate.run import Subject, count_trials, judge, run_trial, step_size, synthetic_examples
from datadistill.evaluate.starts import fixed_starts, start_kind
from datadistill.networks import build_network
from datadistill.networks.known import known_weights
from datadistill.runtime.atomic import read_tensors
from datadistill.runtime.executor import Executor, SideBySide, SpawnPool
from datadistill.synthetic.artifact import Card, SyntheticSet
from datadistill.training.accuracy import accuracy
from datadistill.training.fit import Examples, Fitted, fit
from reference.training import as_module, in_order

SHORT = Protocol(networks=2, epochs=4, batch_size=4, lr=0.05)


@dataclass
class Fake(Executor):
    """Executes nothing: scores a trial by its number, newest first."""

    trials: list = field(default_factory=list)

    def run(self, task, arguments):
        self.trials += arguments
        for index in reversed(range(len(arguments))):
            yield index, (index / 10, 1.0 + index)


@pytest.fixture
def data():
    return tiny.real_data()


@pytest.fixture
def preprocess(data):
    return fit_preprocess("normalise", data)


@pytest.fixture
def network():
    return build_network(tiny.NETWORK, tiny.SHAPE, tiny.CLASSES)


@pytest.fixture
def test_set(data, preprocess):
    return judging.real_examples(data, preprocess, "test")


@pytest.fixture
def subjects(data, preprocess):
    one = random_real(data, preprocess, ipc=1, draws=1, lr=0.03, rng=Randomness(1))
    many = random_real(data, preprocess, ipc=2, draws=3, lr=0.02, rng=Randomness(2))
    return [replace(one, name="synthetic"), many]


@pytest.fixture
def run(subjects, network, test_set):
    def judged(executor=None, protocol=SHORT, **options):
        settings = {"network": network, "augment": "dsa:color", "test": test_set, "rng": Randomness(0)}
        return judge(subjects, protocol, executor=executor, **{**settings, **options})

    return judged


def test_networks_can_be_trained_on_mixed_images(run):
    plain, mixed, again = (
        run(protocol=replace(SHORT, augment=name)) for name in ("none", "mixup+cutmix", "mixup+cutmix")
    )
    assert [result.accuracies for result in mixed] == [result.accuracies for result in again]
    assert [result.accuracies for result in mixed] != [result.accuracies for result in plain]


class TestPairing:
    def test_network_j_starts_from_the_same_weights_on_every_set(self, run):
        fake = Fake()
        run(fake)
        starts = [trial.network.initial(trial.rng.stream("initial weights")) for trial in fake.trials]
        assert len(starts) == (1 + 3) * 2
        assert all(torch.equal(start, starts[position % 2]) for position, start in enumerate(starts))
        assert not torch.equal(starts[0], starts[1])

    def test_and_sees_the_same_draws(self, run):
        fake = Fake()
        run(fake)
        orders = [torch.randperm(50, generator=trial.rng.stream("order")).tolist() for trial in fake.trials]
        assert orders == [orders[0], orders[1]] * 4
        assert orders[0] != orders[1]

    def test_equal_sets_get_equal_results(self, subjects, run):
        subjects[1] = Subject("copy", "", subjects[0].draws, subjects[0].lr)
        first, second = run()
        assert first.accuracies == second.accuracies


class TestTrials:
    def test_are_those_of_the_protocol(self, run, subjects):
        fake = Fake()
        run(fake)
        assert [trial.training.lr for trial in fake.trials] == [0.03] * 2 + [0.02] * 6
        assert {trial.training for trial in fake.trials} == {SHORT.training(0.03), SHORT.training(0.02)}
        assert {trial.augment for trial in fake.trials} == {"dsa:color"}
        assert [trial.train for trial in fake.trials] == [subjects[0].draws[0]] * 2 + [
            draw for draw in subjects[1].draws for _ in range(2)
        ]
        assert count_trials(subjects, SHORT) == len(fake.trials)

    def test_the_augmentation_of_the_protocol_comes_first(self, run):
        fake = Fake()
        run(fake, protocol=replace(SHORT, augment="none"))
        assert {trial.augment for trial in fake.trials} == {"none"}

    def test_results_arrive_in_any_order(self, run):
        first, second = run(Fake())
        assert first.accuracies == ((0.0, 0.1),)
        assert second.accuracies == ((0.2, 0.3), (0.4, 0.5), (0.6, 0.7))
        assert (first.seconds, second.seconds) == (1.0 + 2.0, sum(1.0 + i for i in range(2, 8)))
        assert (first.subject, second.subject) == ("synthetic", "random")
        assert (first.images, second.images) == (3, 6)
        assert (first.lr, second.lr) == (0.03, 0.02)

    def test_known_ones_are_not_run_again(self, run):
        told = []
        whole = run(Fake(), finished=lambda *what: told.append(what))
        keys = [key for key, _, _ in told]
        assert len(set(keys)) == 8
        known = {key: (score, seconds) for key, score, seconds in told}
        for count in (0, 1, 5, 8):
            fake, again = Fake(), []
            part = dict(list(known.items())[:count])
            before = dict(part)
            found = run(fake, known=part, finished=lambda *what, again=again: again.append(what))
            assert part == before, "what was handed over was changed"
            assert len(fake.trials) == len(again) == 8 - count
            assert {key for key, _, _ in again} == set(known) - set(part)
            if count == 8:
                assert found == whole

    def test_one_is_an_ordinary_training_and_a_test(self, run, network, test_set):
        fake = Fake()
        run(fake)
        trial = fake.trials[3]
        start = Fitted.start(network, network.initial(trial.rng.stream("initial weights")))
        (*_, end) = fit(network, start, trial.train, trial.training, build_augment("dsa:color"), trial.rng)
        score, seconds = run_trial(trial)
        assert score == accuracy(network, end.params, end.statistics, test_set)
        assert seconds > 0


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_any_executor_gives_the_same_accuracies(run, workers):
    here, there = run(), run(SpawnPool(workers))
    assert [one.accuracies for one in here] == [other.accuracies for other in there]
    assert len({score for one in here for draw in one.accuracies for score in draw}) > 1


@pytest.mark.parametrize("together", [1, 2, 5])
def test_networks_side_by_side_are_those_one_after_another(run, together):
    here, there = run(), run(SideBySide(together))
    assert [one.accuracies for one in here] == [other.accuracies for other in there]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch of itself
def test_compiled_networks_side_by_side_are_those_one_after_another(run, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # dynamo cannot trace the checks
    torch._dynamo.reset()
    here, there = run(compiled=True), run(SideBySide(4), compiled=True)
    assert [one.accuracies for one in here] == [other.accuracies for other in there]
    torch._dynamo.reset()


def test_training_helps(run, network, test_set):
    trained = run(protocol=replace(SHORT, epochs=40))[1].mean
    untrained = run(protocol=replace(SHORT, epochs=1, lr=1e-9))[1].mean
    assert trained > untrained + 0.2


class TestRandomReal:
    def test_is_stratified_and_real(self, data, preprocess):
        subject = random_real(data, preprocess, ipc=4, draws=3, lr=0.5, rng=Randomness(0))
        assert (subject.name, subject.lr, len(subject.draws)) == ("random", 0.5, 3)
        for draw in subject.draws:
            assert draw.targets.argmax(1).tolist() == [0] * 4 + [1] * 4 + [2] * 4
            pixels = preprocess.invert(draw.images)
            for image, target in zip(pixels, draw.targets, strict=True):
                rows = (data.train.images == image).all((1, 2, 3)).nonzero().flatten()
                assert data.train.labels[rows].tolist() == [target.argmax().item()]

    def test_draws_are_independent_and_repeatable(self, data, preprocess):
        subject, again = (random_real(data, preprocess, ipc=4, draws=4, lr=0.5, rng=Randomness(0)) for _ in range(2))
        images = [draw.images for draw in subject.draws]
        assert len({tuple(one.flatten().tolist()) for one in images}) == 4
        assert all(torch.equal(one, draw.images) for one, draw in zip(images, again.draws, strict=True))
        more = random_real(data, preprocess, ipc=4, draws=5, lr=0.5, rng=Randomness(0))
        assert all(torch.equal(one, draw.images) for one, draw in zip(images, more.draws, strict=False))

    def test_a_class_that_is_too_small_is_refused(self, data, preprocess):
        with pytest.raises(DataError, match="21 were asked for"):
            random_real(data, preprocess, ipc=21, draws=1, lr=0.5, rng=Randomness(0))


@pytest.mark.parametrize(
    ("protocol_lr", "learned", "expected"),
    [
        (0.5, (0.02,), 0.5),
        (None, (0.02,), 0.02),
        (None, None, 0.07),
    ],
)
def test_step_size(protocol_lr, learned, expected):
    images, targets = torch.zeros(3, *tiny.SHAPE), torch.eye(3)
    synthetic = SyntheticSet(images, targets, None if learned is None else torch.tensor(learned))
    protocol = Protocol(fallback_lr=0.07) if protocol_lr is None else Protocol(lr=protocol_lr)
    assert step_size(protocol, synthetic) == pytest.approx(expected)


def test_of_a_step_size_per_step_ordinary_epochs_have_the_mean():
    synthetic = SyntheticSet(torch.zeros(3, *tiny.SHAPE), torch.eye(3), torch.tensor([0.1, 0.2]))
    assert step_size(Protocol(), synthetic) == pytest.approx(0.15)
    assert step_size(Protocol(lr=0.3), synthetic) == 0.3
    assert step_size(Protocol(optimiser="adam"), synthetic) == 1e-3


def ordered_set(steps=4, rates=(0.3, 0.1, 0.2, 0.05)):
    images = torch.randn(6, *tiny.SHAPE, generator=torch.Generator().manual_seed(5))
    order = torch.tensor([[0, 2, 4], [1, 3, 5]]).repeat(2, 1)[:steps]
    learned = None if rates is None else torch.tensor(rates)
    return SyntheticSet(images, torch.eye(3).repeat_interleave(2, 0), learned, order)


class TestInOrder:
    @pytest.mark.parametrize(
        ("protocol", "rates", "expected"),
        [
            (Protocol(ordered=True), (0.3, 0.1, 0.2, 0.05), (0.3, 0.1, 0.2, 0.05)),
            (Protocol(ordered=True), (0.3,), (0.3,) * 4),
            (Protocol(ordered=True, fallback_lr=0.7), None, (0.7,) * 4),
            (Protocol(ordered=True, lr=0.5), (0.3, 0.1, 0.2, 0.05), (0.5,) * 4),
            (Protocol(ordered=True, optimiser="adam"), (0.3, 0.1, 0.2, 0.05), (1e-3,) * 4),
        ],
    )
    def test_the_step_sizes_are_those_of_the_set_unless_the_protocol_has_one(self, protocol, rates, expected):
        examples = synthetic_examples(ordered_set(rates=rates), protocol=protocol)
        assert examples.prescribed.rates == pytest.approx(expected)
        assert torch.equal(examples.prescribed.rows, ordered_set().order)
        assert synthetic_examples(ordered_set(rates=rates), protocol=Protocol()).prescribed is None

    def test_a_set_without_an_order_is_one_line(self):
        synthetic = SyntheticSet(torch.zeros(3, *tiny.SHAPE), torch.eye(3))
        with pytest.raises(UsageError, match=r"no order of its own, .* judge it under protocol 'default'"):
            synthetic_examples(synthetic, protocol=Protocol(ordered=True))

    def test_networks_take_its_steps_and_nothing_else(self, network, test_set):
        subject = Subject("synthetic", "", (synthetic_examples(ordered_set(), protocol=Protocol(ordered=True)),), 0.1)
        fake, protocol = Fake(), named("as-distilled", Protocol(networks=2, ordered_repeats=2))
        options = {"network": network, "augment": "none", "test": test_set, "rng": Randomness(0)}
        judge([subject], protocol, executor=fake, **options)
        (result,) = judge([subject], protocol, **options)
        for trial, score in zip(fake.trials, result.accuracies[0], strict=True):
            module = as_module(network, network.initial(trial.rng.stream("initial weights")))
            synthetic = ordered_set()
            args = (synthetic.images, synthetic.targets, synthetic.order, synthetic.student_lr.tolist())
            params = in_order(module, *args, 2)
            assert score == accuracy(network, params, network.initial_statistics(), test_set)


class TestStarts:
    CARD = Card(
        dataset="bars",
        classes=("a", "b", "c"),
        shape=tiny.SHAPE,
        ipc=2,
        preprocess={},
        network=tiny.NETWORK,
        augment="none",
        method="backprop",
        seed=7,
        hyper_parameters={"initial_weights": "fixed", "networks": 3},
    )

    def test_follow_the_card_where_the_order_does(self):
        assert start_kind(Protocol(ordered=True), self.CARD) == "fixed"
        assert start_kind(Protocol(ordered=True, start="random"), self.CARD) == "random"
        assert start_kind(Protocol(), self.CARD) == "random"
        assert start_kind(Protocol(ordered=True), replace(self.CARD, hyper_parameters={})) == "random"
        taught = replace(self.CARD, hyper_parameters={"initial_weights": "teachers"})
        assert start_kind(Protocol(ordered=True), taught) == "teachers"

    def test_fixed_networks_are_those_the_set_was_distilled_for(self, network, run):
        starts = fixed_starts(network, self.CARD, torch.device("cpu"))
        assert [torch.equal(one.params, known_weights(network, 7, j)) for j, one in enumerate(starts)] == [True] * 3
        fake = Fake()
        run(fake, protocol=replace(SHORT, networks=3), starts=starts)
        assert [trial.start for trial in fake.trials] == list(starts) * 4

    def test_other_networks_have_no_such_weights(self, network):
        with pytest.raises(UsageError, match="fixed weights of 'mlp', not of 'convnet-1-w4'"):
            fixed_starts(network, replace(self.CARD, network="mlp"), torch.device("cpu"))
        with pytest.raises(UsageError, match="not distilled for fixed networks"):
            fixed_starts(network, replace(self.CARD, hyper_parameters={}), torch.device("cpu"))

    def test_on_no_images_a_network_is_tested_as_it_starts(self, network, run, test_set, subjects):
        starts = fixed_starts(network, self.CARD, torch.device("cpu"))
        (draw,) = subjects[0].draws
        subjects[1] = Subject("untrained", "", (Examples(draw.images[:0], draw.targets[:0]),), 0.1)
        _, found = run(protocol=replace(SHORT, networks=3), starts=starts)
        assert found.accuracies[0] == tuple(accuracy(network, s.params, s.statistics, test_set) for s in starts)
        assert (found.images, found.lr) == (0, 0.0)


def real_examples(preprocess):
    data = tiny.real_data(validation=6)
    for split in ("test", "validation"):
        examples = judging.real_examples(data, preprocess, split)
        assert isinstance(examples, Examples)
        assert torch.equal(examples.images, getattr(data, split).images)
        assert examples.prepare is preprocess
    synthetic = SyntheticSet(torch.zeros(3, *tiny.SHAPE), torch.eye(3))
    made = judging.synthetic_examples(synthetic)
    assert made.images is synthetic.images
    assert made.targets is synthetic.targets


def test_networks_are_kept_where_asked_and_trained_again_where_they_are_missing(subjects, network, test_set, tmp_path):
    kept = replace(subjects[0], keep=tmp_path / "networks")
    settings = {"network": network, "augment": "none", "test": test_set, "rng": Randomness(0)}
    scores = {}
    (result,) = judge([kept], SHORT, **settings, finished=lambda key, *found: scores.update({key: found}))
    files = sorted(kept.keep.iterdir())
    assert [path.name for path in files] == ["0_0.safetensors", "0_1.safetensors"]
    for path, score in zip(files, result.accuracies[0], strict=True):
        tensors, about = read_tensors(path)
        assert about["network"] == network.name
        assert (
            accuracy(network, tensors["params"], tensors["statistics"], test_set) == score == float(about["accuracy"])
        )
    files[1].unlink()
    again = []
    judge([kept], SHORT, **settings, known=scores, finished=lambda key, *found: again.append(key))
    assert len(again) == 1
    assert files[1].exists()
