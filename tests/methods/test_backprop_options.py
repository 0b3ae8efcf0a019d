"""Switches of Dataset Distillation: labels, students that remember, windows, any order, teachers, attacks."""

from dataclasses import replace

import pytest
import torch

import tiny
from datadistill.config import from_toml
from datadistill.core.errors import ConfigError, UsageError
from datadistill.core.randomness import Randomness
from datadistill.experts import Teacher, TeacherPool
from datadistill.methods import BackProp, step
from datadistill.methods.draws import draw_real_loss, draw_starts
from reference.unroll import train_and_differentiate

METHOD = BackProp(batches=2, passes=3, student_lr=0.05, image_lr=0.02, batch_real=16)
SHUFFLED = replace(METHOD, order="shuffled")
CONVEX = "convnet-1-w4-sigmoid-nonorm"


def setting(method, **options):
    problem = tiny.problem(None, **{"augment": "none", "dtype": torch.float64, "network": CONVEX, **options})
    return problem, method.init(problem, Randomness(0).at(0)), Randomness(0).at(1)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10 * float(other.abs().max()))


def plain(method, problem, state, rng):
    """The gradients of one network by the textbook formulation."""
    steps = method.draw(problem, rng)
    lr = state.student_lr if len(state.student_lr) == 1 else state.student_lr[: len(steps)]
    (start,) = draw_starts(problem, rng, kind=method.initial_weights, count=1)
    real = draw_real_loss(problem, rng, batch=method.batch_real, augment=method._real_augment)
    options = {"window": method.window, "optimiser": method.rule}
    return train_and_differentiate(
        problem.network, problem.augment, start, state.images, state.targets, lr, steps, real, **options
    )


@pytest.mark.parametrize(
    "method",
    [
        replace(SHUFFLED, step_sizes="shared"),
        replace(SHUFFLED, optimiser="momentum"),
        replace(SHUFFLED, optimiser="adam", step_sizes="shared", window=2),
        replace(METHOD, window=3, window_start=1),
        replace(METHOD, label_lr=0.1, step_sizes="shared"),
    ],
    ids=["shared", "momentum", "adam", "window", "labels"],
)
@pytest.mark.parametrize("strategy", ["adjoint", "stored"])
def test_every_switch_has_the_gradient_of_the_plain_formulation(method, strategy):
    problem, state, rng = setting(method, strategy=strategy)
    metrics, found = method.gradient(problem, state, rng)
    expected = plain(method, problem, state, rng)
    close(metrics["real_loss"], expected["loss"])
    close(found["images"], expected["images"])
    used = len(expected["student_lr"])
    on_lr = torch.zeros_like(state.student_lr)
    on_lr[:used] = expected["student_lr"]
    close(found["raw_student_lr"], state.through_softplus(on_lr))
    if "label_logits" in found:
        close(found["label_logits"], state.through_softmax(expected["targets"]))


class TestLabels:
    def test_start_all_but_certain_and_are_learned(self):
        method = replace(METHOD, label_lr=0.1)
        problem, state, rng = setting(method)
        own = state.targets[torch.arange(6), problem.initial_targets.argmax(1)]
        torch.testing.assert_close(own, torch.full((6,), 0.9).double())
        torch.testing.assert_close(state.targets.sum(1), torch.ones(6).double())
        before = state.targets
        step(method, problem, state, rng)
        assert not torch.equal(state.targets, before)
        assert method.export(problem, state).label_kind == "soft"

    def test_are_hard_without(self):
        problem, state, _ = setting(METHOD)
        assert METHOD.export(problem, state).label_kind == "hard"
        assert "label_logits" not in state.tensors()


class TestAnyOrder:
    def test_batches_differ_from_pass_to_pass_and_from_iteration_to_iteration(self):
        problem, _, rng = setting(SHUFFLED)
        passes = [SHUFFLED.draw(problem, rng.at(i)).rows for i in (1, 2)]
        assert len({tuple(row.tolist()) for rows in passes for row in rows}) > 4
        for first in (0, 2, 4):
            assert sorted(torch.cat(passes[0][first : first + 2]).tolist()) == list(range(6))

    @pytest.mark.parametrize(
        ("change", "lr"),
        [
            ({"step_sizes": "shared"}, (1,)),
            ({}, (6,)),
            ({"optimiser": "adam"}, None),
            ({"optimiser": "momentum"}, (6,)),
        ],
    )
    def test_a_set_for_any_order_has_none(self, change, lr):
        method = replace(SHUFFLED, **change)
        problem, state, _ = setting(method)
        exported = method.export(problem, state)
        assert exported.order is None
        assert (exported.student_lr is None) if lr is None else exported.student_lr.shape == lr

    def test_a_shared_step_size_of_a_fixed_order_is_that_of_every_step(self):
        method = replace(METHOD, step_sizes="shared")
        problem, state, _ = setting(method)
        exported = method.export(problem, state)
        assert exported.student_lr.tolist() == [pytest.approx(0.05)] * 6
        assert exported.order.shape == (6, 3)

    def test_a_student_that_remembers_has_no_fixed_order(self):
        with pytest.raises(ValueError, match="'adam' is for 'shuffled'"):
            replace(METHOD, optimiser="adam")


class TestWindow:
    def test_lies_anywhere(self):
        method = replace(METHOD, window=2)
        problem, _, rng = setting(method)
        ends = {len(method.draw(problem, rng.at(i))) for i in range(1, 60)}
        assert ends == {2, 3, 4, 5, 6}

    def test_says_where_it_ended_and_leaves_later_steps_alone(self):
        method = replace(METHOD, window=2, window_start=1)
        problem, state, rng = setting(method)
        metrics, gradients = method.gradient(problem, state, rng)
        assert metrics["end_step"].item() == 3
        assert gradients["raw_student_lr"].bool().tolist() == [False, True, True, False, False, False]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"window": 7}, "window must be in 1 to 6"),
            ({"window": 4, "window_start": 3}, "window_start must leave room"),
            ({"window_start": 1}, "window_start must leave room"),
        ],
    )
    def test_must_fit(self, change, message):
        with pytest.raises(ValueError, match=message):
            replace(METHOD, **change)


class TestTeachers:
    method = replace(METHOD, initial_weights="teachers", networks=2)

    def pool(self, problem, count):
        params = [problem.network.initial(Randomness(number).stream("teacher")) for number in range(count)]
        return TeacherPool(tuple(Teacher(problem.network, one, torch.empty(0)) for one in params))

    def test_students_start_as_different_ones(self):
        problem, _, rng = setting(METHOD)
        problem = replace(problem, teachers=self.pool(problem, 3))
        known = {tuple(teacher.params.double().tolist()) for teacher in problem.teachers.teachers}
        drawn = [
            {tuple(start.tolist()) for start in draw_starts(problem, rng.at(i), kind="teachers", count=2)}
            for i in range(1, 12)
        ]
        assert all(len(starts) == 2 and starts < known for starts in drawn)
        assert set.union(*drawn) == known
        assert self.method.needs == {"teachers"}

    def test_an_attack_changes_the_labels_of_the_loss_alone(self):
        attack = replace(self.method, attack_class=0, target_class=2)
        problem, state, rng = setting(attack)
        problem = replace(problem, teachers=self.pool(problem, 2))
        plain_loss = draw_real_loss(problem, rng, batch=16, augment=attack._real_augment)
        changed = plain_loss.taking(0, 2)
        assert torch.equal(changed.labels, torch.where(plain_loss.labels == 0, 2, plain_loss.labels))
        assert (plain_loss.labels == 0).any()
        metrics, _ = attack.gradient(problem, state, rng)
        ends = [
            train_and_differentiate(
                problem.network,
                problem.augment,
                start,
                state.images,
                state.targets,
                state.student_lr,
                attack.draw(problem, rng),
                changed,
            )["loss"]
            for start in draw_starts(problem, rng, kind="teachers", count=2)
        ]
        close(metrics["real_loss"], torch.stack(ends).mean())
        assert torch.equal(attack.export(problem, state).targets, problem.initial_targets)

    def test_wrong_attacks_are_refused(self):
        for change in ({"attack_class": 0}, {"attack_class": 1, "target_class": 1}):
            with pytest.raises(ValueError, match="go together, and are two"):
                replace(self.method, **change)
        with pytest.raises(ValueError, match="set initial_weights = 'teachers'"):
            replace(METHOD, attack_class=0, target_class=1)
        with pytest.raises(UsageError, match="target_class is 3, and 'bars' has classes 0 to 2"):
            setting(replace(self.method, attack_class=0, target_class=3))

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ("[teachers]\ncount = 1\n", "teachers.count is 1, and 2 students"),
            ("[teachers]\ncount = 4\nnetworks = ['mlp']\n", "none is a 'lenet'"),
        ],
    )
    def test_a_recipe_without_enough_of_them_is_refused(self, more, message):
        text = "dataset = 'mnist'\nvalidation = 0\nipc = 4\niterations = 1\nnetwork = 'lenet'\n"
        text += "[method.backprop]\nbatches = 2\nnetworks = 2\ninitial_weights = 'teachers'\n"
        with pytest.raises(ConfigError, match=message):
            from_toml(text + more, source="here")


def test_clipping_is_for_every_learned_tensor_and_survives_a_restart():
    method = replace(METHOD, clip=2.0, label_lr=0.1)
    problem, state, rng = setting(method)
    for i in (1, 2, 3):
        step(method, problem, state, rng.at(i))
    assert {name for name in state.tensors() if name.startswith("norm.")} == {
        "norm.images",
        "norm.raw_student_lr",
        "norm.label_logits",
    }
    other = method.init(problem, Randomness(5))
    other.restore({name: tensor.clone() for name, tensor in state.tensors().items()})
    for each in (state, other):
        step(method, problem, each, rng.at(4))
    assert torch.equal(state.images, other.images)
