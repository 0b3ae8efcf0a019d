"""What a distilled set is compared with: averages, k-means centres, chosen draws, nearest neighbours, poison."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from datadistill.core.errors import DataError
from datadistill.core.randomness import Randomness
from datadistill.data import fit_preprocess
from datadistill.evaluate.attack import Attack, Poisoning, attack_of
from datadistill.evaluate.baselines import (
    baseline_sets,
    best_draws,
    best_step_size,
    class_averages,
    kmeans_centres,
    with_step_size,
)
from datadistill.evaluate.neighbours import nearest_accuracy
from datadistill.evaluate.protocol import Protocol, Result
from datadistill.evaluate.run import Subject, judge, real_examples
from datadistill.networks import build_network
from datadistill.training.fit import Examples, Prescribed


@pytest.fixture(scope="module")
def data():
    return tiny.real_data()


@pytest.fixture(scope="module")
def preprocess(data):
    return fit_preprocess("normalise", data)


def of_class(data, preprocess, label):
    return preprocess(data.train.images[data.train.labels == label])


class TestAverages:
    def test_are_the_means_in_network_space_sorted_by_class(self, data, preprocess):
        found = class_averages(data, preprocess, ipc=2)
        assert found.targets.argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
        for row, label in enumerate([0, 0, 1, 1, 2, 2]):
            torch.testing.assert_close(found.images[row], of_class(data, preprocess, label).mean(0))

    def test_one_centre_is_the_mean(self, data, preprocess):
        options = {"ipc": 1, "rng": Randomness(0)}
        (one,) = baseline_sets("kmeans", data, preprocess, draws=3, **options)
        torch.testing.assert_close(one.images, kmeans_centres(data, preprocess, **options).images, rtol=1e-5, atol=1e-5)


class TestKMeans:
    def test_every_centre_is_the_mean_of_the_images_that_are_nearest_to_it(self, data, preprocess):
        found = kmeans_centres(data, preprocess, ipc=3, rng=Randomness(0))
        assert found.targets.argmax(1).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        for label in range(3):
            images, centres = of_class(data, preprocess, label).flatten(1), found.images[3 * label :][:3].flatten(1)
            nearest = np.array([min(range(3), key=lambda c: ((x - centres[c]) ** 2).sum()) for x in images])
            assert len(set(nearest)) == 3
            for centre in range(3):
                torch.testing.assert_close(centres[centre], images[nearest == centre].mean(0), rtol=1e-4, atol=1e-4)

    def test_draws_differ_and_repeat(self, data, preprocess):
        options = {"ipc": 4, "rng": Randomness(0)}
        one, two, three = (draw.images for draw in baseline_sets("kmeans", data, preprocess, draws=3, **options))
        assert not torch.equal(one, two)
        assert not torch.equal(two, three)
        assert torch.equal(baseline_sets("kmeans", data, preprocess, draws=1, **options)[0].images, one)

    def test_a_class_that_is_too_small_is_refused(self, data, preprocess):
        with pytest.raises(DataError, match="class 0 has 20 images, 21 centres"):
            kmeans_centres(data, preprocess, ipc=21, rng=Randomness(0))


def judged(table):
    """Return a judge that gives every subject and draw the accuracy that ``table`` has for its images and step size."""

    def judge(subjects):
        judge.asked += subjects
        return [
            Result.of(
                s.name, "", 1, tuple((table(float(draw.images.flatten()[0]), s.lr),) for draw in s.draws), s.lr, 0.0
            )
            for s in subjects
        ]

    judge.asked = []
    return judge


def subject(*values, lr=0.1):
    steps = Prescribed(torch.tensor([[0], [0]]), (0.3, 0.5))
    draws = [Examples(torch.full((1, 1, 1, 1), value), torch.ones(1, 1), prescribed=steps) for value in values]
    return Subject("kmeans", "centres", tuple(draws), lr)


class TestChoices:
    def test_the_best_draws_are_kept_in_their_order(self):
        chosen = best_draws(subject(0.3, 0.9, 0.1, 0.7), 2, judged(lambda image, lr: image))
        assert [draw.images.item() for draw in chosen.draws] == pytest.approx([0.9, 0.7])
        assert (chosen.name, chosen.description) == ("kmeans", "best random real, 2 of 4 draws")

    def test_the_best_step_size_is_for_all_steps(self):
        judge = judged(lambda image, lr: 1 - abs(lr - 0.4))
        chosen = best_step_size(subject(0.5), (0.2, 0.4, 0.8), judge)
        assert (chosen.lr, chosen.draws[0].prescribed.rates) == (0.4, (0.4, 0.4))
        assert chosen.description == "centres, step size 0.4, best of 4"
        assert len({one.name for one in judge.asked}) == 4  # each is remembered under a name of its own

    def test_its_own_step_sizes_may_be_the_best(self):
        own = subject(0.5)
        chosen = best_step_size(own, (0.2,), judged(lambda image, lr: -lr))
        assert chosen == replace(own, description="centres, step size best of 2")
        assert best_step_size(own, (), judged(None)) is own

    def test_an_unordered_set_just_has_another_step_size(self):
        own = replace(subject(0.5), draws=(Examples(torch.zeros(1, 1, 1, 1), torch.ones(1, 1)),))
        assert with_step_size(own, 3.0) == replace(own, lr=3.0)


def brute_force(images, labels, test, k, p):
    """Nearest neighbours one by one: most votes, then the largest sum of closeness."""
    right = 0
    for image, label in zip(test.prepare(test.images), test.targets.tolist(), strict=True):
        distances = [float(torch.dist(image, other, p=p)) for other in images]
        order = sorted(range(len(images)), key=distances.__getitem__)[:k]
        votes = {c: (sum(labels[i] == c for i in order), sum(k - r for r, i in enumerate(order) if labels[i] == c))
                 for c in range(3)}  # fmt: skip
        right += max(votes, key=votes.__getitem__) == label
    return right / len(test)


@pytest.mark.parametrize(("k", "p"), [(1, 2.0), (3, 2.0), (4, 1.0), (99, 2.0)])
def test_nearest_neighbours_are_those_of_brute_force(data, preprocess, k, p, monkeypatch):
    monkeypatch.setattr("datadistill.evaluate.neighbours._PAIRS", 40)  # several chunks
    test = real_examples(data, preprocess, "test")
    (draw,) = baseline_sets("random", data, preprocess, ipc=3, draws=1, rng=Randomness(0))
    labels = draw.targets.argmax(1).tolist()
    expected = brute_force(draw.images, labels, test, k, p)
    assert nearest_accuracy(draw.images, draw.targets, test, k=k, p=p) == pytest.approx(expected)
    assert expected > 1 / 3


class TestAttack:
    ATTACK = Attack(0, 2, ("zero", "two"))

    def test_figures(self):
        labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2])
        predicted = torch.tensor([0, 2, 2, 1, 1, 0, 2, 2, 2])
        assert self.ATTACK.figures(predicted, labels) == pytest.approx((1 / 4, 2 / 4, 4 / 5))
        assert self.ATTACK.figures(predicted[4:], labels[4:])[:2] == (0.0, 0.0)

    def test_poison_bears_the_label_of_the_target(self):
        soft = Examples(torch.zeros(3, 1, 1, 1), torch.eye(3))
        assert self.ATTACK.relabelled(soft).targets.argmax(1).tolist() == [2, 1, 2]
        hard = Examples(torch.zeros(3, 1, 1, 1), torch.arange(3))
        assert self.ATTACK.relabelled(hard).targets.tolist() == [2, 1, 2]
        assert torch.equal(soft.targets, torch.eye(3))

    def test_is_what_the_card_says(self):
        from evaluate.test_judge import TestStarts

        honest = TestStarts.CARD
        assert attack_of(honest) is None
        poisoned = replace(honest, hyper_parameters={"attack_class": 0, "target_class": 2})
        assert attack_of(poisoned) == Attack(0, 2, ("a", "c"))

    def test_is_measured_on_every_network(self, data, preprocess):
        network, test = build_network(tiny.NETWORK, tiny.SHAPE, tiny.CLASSES), real_examples(data, preprocess, "test")
        sets = baseline_sets("random", data, preprocess, ipc=4, draws=2, rng=Randomness(0))
        poisoned = Subject("random", "", tuple(map(self.ATTACK.relabelled, sets)), 0.05)
        protocol = Protocol(networks=2, epochs=30)
        options = {"network": network, "augment": "none", "test": test, "rng": Randomness(0)}
        (found,) = judge([poisoned], protocol, attack=self.ATTACK, **options)
        assert isinstance(found.poisoning, Poisoning)
        assert [len(row) for row in found.poisoning.success] == [2, 2]
        attacked, success, others = found.poisoning.means()
        assert success > attacked
        assert others > 0.6
        counted = (attacked * 10 + others * 20) / 30  # ten test images of each class
        assert found.mean == pytest.approx(counted)
        (plain,) = judge([poisoned], protocol, **options)
        assert plain == replace(found, poisoning=None, seconds=plain.seconds)
