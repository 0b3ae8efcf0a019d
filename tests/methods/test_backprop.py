"""Dataset Distillation: the schedule, the initial weights, and gradients equal to the plain formulation."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import tiny
from datadistill.config import from_toml
from datadistill.core.errors import ConfigError
from datadistill.core.randomness import Randomness
from datadistill.data.sampling import batch_of_epoch
from datadistill.losses import real as real_losses
from datadistill.methods import BackProp, step
from datadistill.methods.draws import draw_real_loss, draw_starts
from datadistill.networks.known import known_weights
from reference.unroll import train_and_differentiate

METHOD = BackProp(batches=2, passes=2, student_lr=0.1, image_lr=0.02, batch_real=16, networks=2)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10 * float(other.abs().max()))


def setting(method=METHOD, **options):
    problem = tiny.problem(None, **{"augment": "none", "dtype": torch.float64, **options})
    return problem, method.init(problem, Randomness(0).at(0)), Randomness(0).at(1)


def starts(method, problem, rng):
    return list(draw_starts(problem, rng, kind=method.initial_weights, count=method.networks))


class TestSchedule:
    def test_every_batch_has_every_class_and_passes_repeat_them(self):
        problem, state, _ = setting()
        exported = METHOD.export(problem, state)
        assert exported.order.tolist() == [[0, 2, 4], [1, 3, 5], [0, 2, 4], [1, 3, 5]]
        assert exported.student_lr.shape == (4,)
        for rows in exported.order:
            assert sorted(exported.targets[rows].argmax(1).tolist()) == [0, 1, 2]

    def test_one_batch_is_the_whole_set(self):
        problem, state, _ = setting(replace(METHOD, batches=1))
        assert replace(METHOD, batches=1).export(problem, state).order.tolist() == [list(range(6))] * 2

    def test_every_image_and_every_step_size_has_a_gradient(self):
        problem, state, rng = setting()
        _, gradients = METHOD.gradient(problem, state, rng)
        assert (gradients["images"].flatten(1).norm(dim=1) > 0).all()
        assert (gradients["raw_student_lr"] != 0).all()

    def test_a_set_that_cannot_be_cut_is_refused(self):
        with pytest.raises(ValueError, match="2 images of a class cannot be cut into 3 batches"):
            setting(replace(METHOD, batches=3))
        text = "dataset = 'digits'\nvalidation = 0\nipc = 4\niterations = 1\n[method.backprop]\nbatches = 3\n"
        with pytest.raises(ConfigError, match="ipc: 4 images of a class cannot be cut into 3"):
            from_toml(text, source="here")


@pytest.mark.parametrize("together", [5, 64])
@pytest.mark.parametrize("strategy", ["adjoint", "stored"])
@pytest.mark.parametrize("network", [tiny.NETWORK, f"{tiny.NETWORK}-batchnorm"])
def test_the_gradient_is_that_of_the_plain_formulation(network, strategy, together, monkeypatch):
    """Mean over the networks, through the softplus, with augmented synthetic images, real ones in parts."""
    monkeypatch.setattr(real_losses, "TOGETHER", together)
    problem, state, rng = setting(augment="dsa", strategy=strategy, network=network)
    metrics, found = METHOD.gradient(problem, state, rng)
    real = draw_real_loss(problem, rng, batch=16, augment=METHOD._real_augment)
    steps = METHOD.draw(problem, rng)

    def plain(start):
        return train_and_differentiate(
            problem.network, problem.augment, start, state.images, state.targets, state.student_lr, steps, real
        )

    each = [plain(start) for start in starts(METHOD, problem, rng)]
    expected = {name: sum(one[name] for one in each) / 2 for name in ("loss", "images", "student_lr")}
    close(metrics["real_loss"], expected["loss"])
    close(found["images"], expected["images"])
    close(found["raw_student_lr"], state.through_softplus(expected["student_lr"]))


class TestInitialWeights:
    def test_random_ones_are_new_in_every_iteration_and_of_every_network(self):
        problem, _, rng = setting()
        first, second = (starts(METHOD, problem, rng.at(i)) for i in (1, 2))
        assert len({tuple(start.tolist()) for start in (*first, *second)}) == 4
        assert torch.equal(first[1], starts(METHOD, problem, rng.at(1))[1])

    def test_fixed_ones_are_known_from_the_seed(self):
        problem, _, rng = setting()
        fixed = replace(METHOD, initial_weights="fixed")
        for i in (1, 2):
            for number, start in enumerate(starts(fixed, problem, rng.child("whatever").at(i))):
                assert torch.equal(start, known_weights(problem.network, 0, number).double())

    def test_several_networks_are_the_mean_of_one_at_a_time(self, monkeypatch):
        problem, state, rng = setting()
        metrics, gradients = METHOD.gradient(problem, state, rng)
        losses, images = [], []
        for start in starts(METHOD, problem, rng):
            monkeypatch.setattr("datadistill.methods.backprop.draw_starts", lambda *_, start=start, **__: [start])
            alone, found = replace(METHOD, networks=1).gradient(problem, state, rng)
            losses.append(alone["real_loss"])
            images.append(found["images"])
        assert torch.equal(metrics["real_loss"], losses[0] / 2 + losses[1] / 2)
        assert torch.equal(gradients["images"], images[0] / 2 + images[1] / 2)


class TestRealImages:
    def test_batches_go_through_the_whole_set_in_every_pass(self):
        rng = Randomness(0)
        epochs = [torch.cat([batch_of_epoch(10, 3, rng.at(i)) for i in range(first, first + 3)]) for first in (1, 4, 7)]
        assert all(len(set(epoch.tolist())) == 9 for epoch in epochs)
        assert epochs[0].tolist() != epochs[1].tolist()
        assert batch_of_epoch(10, 10, rng.at(5)).tolist() == list(range(10))

    def test_they_are_normalised_and_augmented_by_themselves(self):
        problem, _, rng = setting()
        plain = draw_real_loss(problem, rng, batch=60, augment=METHOD._real_augment)
        assert torch.equal(plain.images, problem.preprocess(problem.data.train.images).double())
        flipped = draw_real_loss(
            problem, rng, batch=60, augment=replace(METHOD, real_augment="crop-flip")._real_augment
        )
        assert flipped.images.shape == plain.images.shape
        assert not torch.equal(flipped.images, plain.images)
        assert torch.equal(flipped.labels, plain.labels)

    def test_the_loss_is_the_mean_cross_entropy(self):
        problem, _, rng = setting()
        loss = draw_real_loss(problem, rng, batch=16, augment=METHOD._real_augment)
        params = problem.network.initial(rng.stream("here")).double()
        expected = F.cross_entropy(problem.network(params, loss.images), loss.labels)
        assert torch.equal(loss(params), expected)


def test_both_step_sizes_of_adam_drop_together():
    method = replace(METHOD, decay_every=10, decay_factor=0.5, student_lr_lr=0.2)
    problem = replace(tiny.problem(None), iterations=40)
    rules = method.init(problem, Randomness(0)).rules
    assert [rules["images"].lr_at(done) / 0.02 for done in (0, 9, 10, 20, 39)] == [1, 1, 0.5, 0.25, 0.125]
    assert rules["raw_student_lr"].lr_at(10) == pytest.approx(0.1)
    assert {rule.betas for rule in rules.values()} == {(0.5, 0.999)}
    with pytest.raises(ValueError, match="decay_every needs to know"):
        method.init(replace(problem, iterations=None), Randomness(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passes": 0}, "batches and passes must be at least 1"),
        ({"networks": 0}, "batch_real and networks must be at least 1"),
        ({"student_lr": 0.0}, "student_lr must be positive"),
        ({"image_lr": 0.0}, "image_lr must be positive"),
        ({"decay_factor": 0.0}, r"decay_factor in \(0, 1\]"),
        ({"real_augment": "cutmix"}, "real_augment: 'cutmix' mixes targets"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(METHOD, **change)


def test_the_loss_on_all_real_images_falls():
    problem = tiny.problem(None, augment="none")
    method = replace(METHOD, initial_weights="fixed", networks=1, batch_real=1000)
    state, rng = method.init(problem, Randomness(0)), Randomness(0)
    losses = [step(method, problem, state, rng.at(i))["real_loss"].item() for i in range(1, 13)]
    assert losses[-1] < 0.95 * losses[0]
