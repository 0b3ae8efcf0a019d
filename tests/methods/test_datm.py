"""DATM against its parts, written out: the bound of the start epochs, the first images and labels, the threshold."""

from collections import Counter

import pytest
import torch

import tiny
from datadistill.core.errors import NonFiniteError
from datadistill.core.randomness import Randomness
from datadistill.distill import distill
from datadistill.methods import DATM, MTT, step
from datadistill.methods.base import UPDATE_TAKEN
from reference.unroll import train_and_differentiate

NEEDED = {"expert_epochs": 1, "student_steps": 3, "max_start_epoch": 2, "student_lr": 0.05}


@pytest.fixture
def problem(store):
    return tiny.problem(store, network=tiny.SMOOTH_NETWORK, dtype=torch.float64)


def test_the_bound_rises_in_equal_steps():
    method = DATM(
        **{**NEEDED, "max_start_epoch": 20}, min_start_epoch=5, first_max_start_epoch=10, expansion_iterations=50
    )
    bounds = [method.start_epochs(iteration) for iteration in range(1, 80)]
    assert {bound.start for bound in bounds} == {5}
    assert [bound.stop for bound in bounds] == [min(20, 10 + int(10 * i / 50)) for i in range(79)]
    assert method.expert_epochs_needed == 20
    assert DATM(**NEEDED).start_epochs(1) == range(2)


def test_segments_start_inside_the_bounds(problem):
    method = DATM(
        **{**NEEDED, "max_start_epoch": 3}, min_start_epoch=1, first_max_start_epoch=2, expansion_iterations=4
    )
    state = method.init(problem, Randomness(0))
    early, late = (
        Counter(method.draw(problem, state, Randomness(seed).at(i))[0].epoch for seed in range(20)) for i in (1, 9)
    )
    assert set(early) == {1}
    assert set(late) == {1, 2}


def test_starts_from_images_that_the_first_expert_recognises_with_the_mean_of_those_who_do(problem):
    state = DATM(**NEEDED).init(problem, Randomness(3))
    labels = problem.initial_targets.argmax(1)
    said = [problem.network(problem.experts.final(j)[0].double(), state.images) for j in (0, 1)]
    assert torch.equal(said[0].argmax(1), labels)
    pool = problem.preprocess(problem.data.train.images).double()
    for image, label in zip(state.images, labels, strict=True):
        (row,) = [i for i, real in enumerate(pool) if torch.equal(real, image)]
        assert problem.data.train.labels[row] == label
    assert len({tuple(image.flatten().tolist()) for image in state.images}) == len(state.images)
    for i, label in enumerate(labels):
        those = [logits[i] for logits in said if logits[i].argmax() == label]
        torch.testing.assert_close(state.targets[i], torch.stack(those).mean(0).softmax(0))


def test_an_image_that_nobody_recognises_gets_the_mean_of_all(store):
    data = tiny.real_data()
    swapped = tiny.replace(data.train, labels=(data.train.labels + 1) % tiny.CLASSES)
    problem = tiny.problem(store, count=2)
    lied = tiny.replace(
        problem, data=tiny.replace(data, train=swapped), initial_images=problem.initial_images.roll(2, 0)
    )
    with pytest.warns(UserWarning, match="initial images are recognised by no expert"):
        state = DATM(**NEEDED, only_recognised=False).init(lied, Randomness(0))
    assert torch.equal(state.images, lied.initial_images)
    said = torch.stack([problem.network(problem.experts.final(j)[0], state.images) for j in (0, 1)])
    lost = (said.argmax(2) != lied.initial_targets.argmax(1)).all(0)
    assert lost.any()
    torch.testing.assert_close(state.targets[lost], said.mean(0).softmax(1)[lost])
    with pytest.warns(UserWarning, match="recognised by no expert"):
        filled = DATM(**NEEDED).init(lied, Randomness(0))  # as many as there are, then others
    assert filled.images.isfinite().all()


@pytest.mark.parametrize("strategy", ["adjoint", "stored"])
@pytest.mark.parametrize("batch_syn", [None, 4])
def test_gradients_pass_through_the_softmax_to_the_label_logits(store, strategy, batch_syn):
    problem = tiny.problem(store, network=tiny.SMOOTH_NETWORK, dtype=torch.float64, strategy=strategy)
    method, rng = DATM(**NEEDED, batch_syn=batch_syn), Randomness(0).at(2)
    state = method.init(problem, Randomness(0))
    _, gradients = method.gradient(problem, state, rng)
    segment, steps = method.draw(problem, state, rng)
    logits = state.tensors()["label_logits"].clone().requires_grad_()
    targets = logits.softmax(1)
    expected = train_and_differentiate(
        problem.network,
        problem.augment,
        segment.start,
        state.images,
        targets.detach(),
        state.student_lr,
        steps,
        lambda end: (end - segment.target).norm() ** 2 / (segment.start - segment.target).norm() ** 2,
    )
    (through,) = torch.autograd.grad(targets, logits, expected["targets"])
    torch.testing.assert_close(gradients["label_logits"], through, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(gradients["images"], expected["images"], rtol=1e-10, atol=1e-14)


def test_labels_have_a_step_size_and_a_momentum_of_their_own(problem):
    method = DATM(**NEEDED, label_lr=3.0, label_momentum=0.9, image_lr=1.0, momentum=0.5)
    state = method.init(problem, Randomness(0))
    velocity, logits = torch.zeros_like(state.targets), state.tensors()["label_logits"].clone()
    for i in (1, 2, 3):
        _, gradients = method.gradient(problem, state, Randomness(0).at(i))
        velocity = 0.9 * velocity + gradients["label_logits"]
        logits = logits - 3.0 * velocity
        step(method, problem, state, Randomness(0).at(i))
    torch.testing.assert_close(state.tensors()["label_logits"], logits)
    made = method.export(problem, state)
    torch.testing.assert_close(made.targets, logits.softmax(1))
    assert made.label_kind == "soft"


def test_an_update_on_too_high_a_loss_leaves_everything_as_it_is(problem):
    settings = {**NEEDED, "image_lr": 50.0, "label_lr": 3.0}
    started = DATM(**settings)
    state = started.init(problem, Randomness(0))
    step(started, problem, state, Randomness(0).at(1))  # so that there is momentum
    loss = started.gradient(problem, state, Randomness(0).at(2))[0]["matching_loss"].item()
    kept = {name: tensor.clone() for name, tensor in state.tensors().items()}
    for threshold, taken in ((loss * 0.999, False), (loss * 1.001, True)):
        method = DATM(**settings, loss_threshold=threshold)
        state.restore(kept)
        metrics = step(method, problem, state, Randomness(0).at(2))
        assert bool(metrics[UPDATE_TAKEN]) == taken
        assert all(torch.equal(tensor, kept[name]) != taken for name, tensor in state.tensors().items())


def test_a_loss_that_is_not_a_number_is_no_update(problem, monkeypatch):
    method = DATM(**NEEDED, loss_threshold=1.0)
    state = method.init(problem, Randomness(0))
    kept = {name: tensor.clone() for name, tensor in state.tensors().items()}
    nothing = {name: torch.full_like(kept[name], torch.nan) for name in ("images", "label_logits", "student_lr")}
    metrics = {"matching_loss": torch.tensor(torch.nan), "student_lr": torch.tensor(0.1)}
    monkeypatch.setattr(DATM, "match", lambda self, problem, state, rng: (dict(metrics), dict(nothing)))
    step(method, problem, state, Randomness(0).at(1))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in state.tensors().items())
    progress = distill(method, problem, iterations=2, rng=Randomness(0), read_every=1)
    assert progress.iteration == 2, "an update that is not taken does not end a run"
    with pytest.raises(NonFiniteError):
        distill(DATM(**NEEDED), problem, iterations=2, rng=Randomness(0), read_every=1)


def test_is_mtt_without_its_switches(problem):
    """Hard labels that stay, the same images, all start epochs: the same images come out."""
    plain = MTT(**NEEDED, image_lr=5.0)
    method = DATM(**NEEDED, image_lr=5.0, label_lr=0.0, only_recognised=False)
    ours, theirs = method.init(problem, Randomness(0)), plain.init(problem, Randomness(0))
    ours.values["label_logits"].copy_(1e3 * theirs.targets)
    for i in (1, 2):
        step(method, problem, ours, Randomness(0).at(i))
        step(plain, problem, theirs, Randomness(0).at(i))
    torch.testing.assert_close(ours.images, theirs.images, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"min_start_epoch": 2}, "min_start_epoch"),
        ({"min_start_epoch": -1}, "min_start_epoch"),
        ({"first_max_start_epoch": 1}, "go together"),
        ({"expansion_iterations": 5}, "go together"),
        ({"first_max_start_epoch": 1, "expansion_iterations": 0}, "go together"),
        ({"first_max_start_epoch": 3, "expansion_iterations": 5}, "not above max_start_epoch"),
        ({"label_lr": -1.0}, "label_lr"),
        ({"label_momentum": 1.0}, "label_momentum"),
        ({"loss_threshold": 0.0}, "loss_threshold"),
        ({"average_decay": 0.9}, "average_decay"),
    ],
)
def test_impossible_values_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        DATM(**NEEDED, **wrong)
