"""Statistics of accuracies, and the protocols' exact values."""

import dataclasses
import math
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from datadistill.core.errors import UnknownNameError
from datadistill.evaluate.attack import Attack, Poisoning
from datadistill.evaluate.protocol import Evaluation, Protocol, Result, gain, named
from datadistill.runtime.atomic import read_json, write_json
from datadistill.runtime.records import load_record, save_record
from datadistill.training.schedules import Adam, TrainingRecipe

accuracies = st.floats(0, 1)


def result(*draws):
    return Result.of("synthetic", "in words", 10, draws, 0.01, 1.5)


class TestResult:
    def test_several_networks_on_one_set(self):
        found = result((0.5, 0.6, 0.7))
        assert found.mean == pytest.approx(0.6)
        assert found.std == pytest.approx(0.1)  # sample, not population
        half = 4.302652729911275 * 0.1 / math.sqrt(3)  # Student's t, two degrees of freedom
        assert found.interval == pytest.approx((0.6 - half, 0.6 + half))

    def test_several_draws_count_as_one_each(self):
        """Networks on one set share its luck; the interval is over sets."""
        found = result((0.2, 0.4), (0.5, 0.5), (0.6, 0.8))
        assert found.mean == pytest.approx(0.5)
        assert found.std == pytest.approx(0.2)
        half = 4.302652729911275 * 0.2 / math.sqrt(3)
        assert found.interval == pytest.approx((0.5 - half, 0.5 + half))

    def test_a_single_network_has_no_spread(self):
        found = result((0.4,))
        assert (found.mean, found.std, found.interval) == (0.4, 0.0, (0.4, 0.4))

    def test_a_network_per_draw(self):
        assert result((0.2,), (0.4,)).interval == pytest.approx(result((0.2, 0.4)).interval)

    @given(st.lists(accuracies, min_size=2, max_size=8))
    def test_the_interval_is_that_of_scipy(self, values):
        found = result(tuple(values))
        mean, error = sum(values) / len(values), stats.sem(values)
        assert found.mean == pytest.approx(mean)
        if error > 1e-9:
            low, high = stats.t.interval(0.95, len(values) - 1, loc=mean, scale=error)
            assert found.interval == pytest.approx((max(low, 0), min(high, 1)))  # an accuracy is a fraction
            assert found.std == pytest.approx(stats.tstd(values))

    def test_keeps_what_it_was_given(self):
        found = result((0.1, 0.2), (0.3, 0.4))
        assert found.accuracies == ((0.1, 0.2), (0.3, 0.4))
        assert (found.subject, found.description, found.images, found.lr, found.seconds) == (
            "synthetic",
            "in words",
            10,
            0.01,
            1.5,
        )


def test_a_record_comes_back_as_it_was(tmp_path):
    record = Evaluation(
        name="upstream",
        protocol=named("upstream", Protocol()),
        dataset="bars",
        network="convnet-3",
        split="test, 30 images",
        results={"synthetic": result((0.5, 0.7)), "random": result((0.1,), (0.2,))},
        candidates=((100, 0.7), (200, 0.6)),
        variant_candidates={"averaged": ((100, 0.5), (200, 0.8))},
    )
    save_record(tmp_path / "upstream.json", record)
    assert load_record(Evaluation, tmp_path / "upstream.json") == record


def test_a_record_of_an_attack_comes_back_as_it_was(tmp_path):
    figures = Poisoning(attacked=((0.9, 0.1),), success=((0.0, 0.8),), others=((0.9, 0.7),))
    record = Evaluation(
        name="default",
        protocol=Protocol(),
        dataset="bars",
        network="mlp",
        split="test, 30 images",
        start="kept from it",
        attack=Attack(0, 1, ("zero", "one")),
        results={"untrained": dataclasses.replace(result((0.5, 0.7)), poisoning=figures)},
    )
    save_record(tmp_path / "default.json", record)
    assert load_record(Evaluation, tmp_path / "default.json") == record
    assert figures.means() == pytest.approx((0.5, 0.4, 0.8))


def test_a_record_of_the_time_before_the_peak_is_read(tmp_path):
    record = Evaluation(name="default", protocol=Protocol(), dataset="bars", network="mlp", split="test, 30 images")
    path = tmp_path / "default.json"
    save_record(path, record)
    old = read_json(path)
    del old["candidates"], old["variant_candidates"], old["protocol"]["peak"]
    write_json(path, {**old, "schema_version": 1})
    assert load_record(Evaluation, path) == record


class TestProtocols:
    DEFAULT: ClassVar = {
        "networks": 5,
        "network": None,
        "epochs": 1000,
        "batch_size": 256,
        "ordered": False,
        "ordered_networks": None,
        "ordered_repeats": 1,
        "start": None,
        "optimiser": "sgd",
        "lr": None,
        "fallback_lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "step",
        "decay_at": 0.5,
        "reset_momentum": False,
        "extra_epoch": False,
        "augment": None,
        "split": "test",
        "baselines": ("random",),
        "random_draws": 5,
        "baseline_lrs": (),
        "candidates": 25,
        "choosing_networks": 5,
        "neighbours": 1,
        "norm": 2.0,
        "peak": False,
        "save_networks": False,
    }

    def test_default(self):
        assert dataclasses.asdict(named("default", Protocol())) == self.DEFAULT

    def test_upstream_differs_in_three_things(self):
        changes = {"reset_momentum": True, "extra_epoch": True, "augment": "dsa"}
        assert dataclasses.asdict(named("upstream", Protocol())) == {**self.DEFAULT, **changes}

    def test_upstream_peak_differs_from_upstream_only_in_the_choice(self):
        upstream = dataclasses.asdict(named("upstream", Protocol()))
        peak = dataclasses.asdict(named("upstream-peak", Protocol()))
        assert peak == {**upstream, "peak": True, "random_draws": 0}

    def test_a_name_changes_what_the_codes_have_fixed_and_leaves_the_rest_to_the_recipe(self):
        options = {"networks": 3, "network": "mlp", "epochs": 300, "batch_size": 128, "lr": 0.02}
        fixed = {"momentum": 0.5, "weight_decay": 0.0, "schedule": "cosine", "augment": "none"}
        fixed |= {"optimiser": "adam", "start": "teachers"}
        recipe = Protocol(**options, **fixed, split="validation", random_draws=1)
        assert named("default", recipe) == recipe
        assert named("upstream", recipe) == dataclasses.replace(
            named("upstream", Protocol()), **options, split="validation", random_draws=1
        )
        assert named("upstream-peak", recipe) == dataclasses.replace(named("upstream-peak", Protocol()), **options)

    def test_as_distilled_is_plain_sgd_through_the_order_of_the_set(self):
        changes = {"epochs": 1, "ordered": True, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
        assert dataclasses.asdict(named("as-distilled", Protocol())) == {**self.DEFAULT, **changes}
        recipe = Protocol(
            networks=3,
            lr=0.3,
            optimiser="adam",
            augment="dsa",
            reset_momentum=True,
            ordered_networks=200,
            ordered_repeats=4,
        )
        found = named("as-distilled", recipe)
        assert (found.networks, found.epochs, found.lr, found.optimiser, found.augment) == (200, 4, None, "sgd", None)
        assert named("default", recipe) == recipe

    def test_networks_are_tested_before_the_first_step_of_an_order(self):
        names = ("random", "knn")
        assert Protocol(baselines=names).compared == names
        assert Protocol(baselines=names, ordered=True).compared == ("untrained", *names)

    def test_an_unknown_baseline_is_refused_with_the_nearest(self):
        with pytest.raises(UnknownNameError, match=r"unknown baseline 'k-means'.*'kmeans'"):
            Protocol(baselines=("k-means",))

    def test_trainings_of_baselines(self):
        names = ("untrained", "random", "optimised", "average", "kmeans", "knn", "knn-kmeans")
        protocol = Protocol(networks=3, random_draws=2, candidates=10, choosing_networks=4, baselines=names)
        assert protocol.baseline_trainings(10) == 3 * (1 + 2 + 2 + 1 + 2) + 4 * 10
        assert protocol.baseline_trainings(1) == 3 * (1 + 2 + 2 + 1 + 1) + 4 * 10  # one centre is the average
        tried = dataclasses.replace(protocol, baseline_lrs=(0.1, 0.2))
        assert tried.baseline_trainings(10) == protocol.baseline_trainings(10) + 3 * 4 * (2 + 2 + 1 + 2)
        assert dataclasses.replace(protocol, random_draws=0).compared == ("untrained", "average", "knn")

    def test_a_choice_on_the_test_set_needs_the_test_set(self):
        with pytest.raises(ValueError, match="peak chooses on the test set, and split is 'validation'"):
            Protocol(peak=True, split="validation")

    def test_upstream_trains_as_the_published_codes_do(self):
        training = named("upstream", Protocol()).training(0.03)
        assert training.epochs_run == 1001
        assert [epoch for epoch in range(1001) if training.lr_at(epoch) == 0.03] == list(range(502))
        assert training.lr_at(502) == pytest.approx(0.003)
        assert training.reset_momentum
        assert training.drop_epoch == 502

    def test_default_trains_for_1000_epochs_and_drops_halfway(self):
        training = named("default", Protocol()).training(0.03)
        assert (training.epochs_run, training.drop_epoch, training.reset_momentum) == (1000, 500, False)

    def test_every_field_of_a_training_comes_from_the_protocol(self):
        """Nothing of the training has a default that a protocol could not change, but what is for experts only."""
        names = {field.name for field in dataclasses.fields(TrainingRecipe)} - {"gsam", "adam"}
        assert names <= {field.name for field in dataclasses.fields(Protocol)}
        other = Protocol(
            epochs=7,
            batch_size=3,
            momentum=0.1,
            weight_decay=0.2,
            schedule="step",
            decay_at=0.3,
            reset_momentum=True,
            extra_epoch=True,
        )
        training = dataclasses.asdict(other.training(0.4))
        assert training == {**{name: getattr(other, name) for name in names}, "lr": 0.4, "gsam": None, "adam": None}
        assert Protocol(optimiser="adam").training(0.4).adam == Adam()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"networks": 0},
            {"epochs": 0},
            {"batch_size": 0},
            {"random_draws": -1},
            {"momentum": 1.0},
            {"weight_decay": -1.0},
            {"decay_at": 0.0},
            {"lr": 0.0},
            {"fallback_lr": -0.1},
            {"baseline_lrs": (0.1, 0.0)},
            {"candidates": 4, "baselines": ("optimised",)},
            {"neighbours": 0},
            {"ordered_networks": 0},
            {"ordered_repeats": 0},
            {"norm": 0.0},
        ],
        ids=str,
    )
    def test_impossible_values_are_refused_before_anything_runs(self, wrong):
        with pytest.raises(ValueError, match=r"must be|at least"):
            Protocol(**wrong)


class TestGain:
    def test_network_by_network_over_all_draws(self):
        points, half = gain(result((0.5, 0.7, 0.6)), result((0.1, 0.3, 0.2), (0.3, 0.5, 0.5)))
        differences = [0.5 - 0.2, 0.7 - 0.4, 0.6 - 0.35]
        assert points == pytest.approx(sum(differences) / 3)
        interval = stats.t.interval(0.95, 2, loc=points, scale=stats.sem(differences))
        assert (points - half, points + half) == pytest.approx(interval)

    def test_what_all_networks_share_cancels(self):
        points, half = gain(result((0.2, 0.9)), result((0.1, 0.8)))
        assert points == pytest.approx(0.1)
        assert half == pytest.approx(0, abs=1e-12)

    def test_one_network_has_no_interval_and_other_numbers_of_networks_no_pairs(self):
        assert gain(result((0.5,)), result((0.25,), (0.25,))) == (0.25, 0.0)
        assert gain(result((0.5, 0.6)), result((0.25,))) is None
