"""APM against the formulation of its reference: one backward pass per student, dense momentum, all in float64."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import tiny
from datadistill.core.randomness import Randomness
from datadistill.distill import distill
from datadistill.methods import APM
from datadistill.methods.base import begin, step
from datadistill.synthetic.lazy import LazySet
from datadistill.synthetic.learnable import LearnableSet, Rates
from datadistill.synthetic.rules import Drops, Rule
from datadistill.training.fit import Examples, Fitted, fit
from ledger import Ledger

SMALL = APM(image_lr=2.0, refresh_every=2, snapshots=2, student_epochs=4)


@pytest.fixture
def problem(store):
    return tiny.problem(store, dtype=torch.float64)


def reference_gradient(method, problem, state, rows):
    """One graph per student, and one for the teacher's part, added up: 2K + 1 passes of the teacher or a student."""
    teacher = problem.teachers.teachers[int(state.teacher)]
    total = torch.zeros_like(state.images)
    for params, statistics in zip(state.students, state.statistics, strict=True):
        x = state.images.clone().requires_grad_()
        apart = (problem.network(params, x[rows], statistics) - teacher(x[rows])).abs().mean()
        total += torch.autograd.grad(-apart, x)[0]
    x = state.images.clone().requires_grad_()
    recognised = F.cross_entropy(teacher(x[rows]), state.targets[rows].argmax(1))
    return total + torch.autograd.grad(method.recognition * recognised, x)[0]


@pytest.mark.parametrize("changes", [{}, {"chunk": 2}, {"batch_syn": 4}, {"batch_syn": 4, "chunk": 3}])
def test_the_gradient_is_that_of_the_reference(problem, changes):
    method, rng = replace(SMALL, **changes), Randomness(3)
    state = begin(method, problem, rng)
    for i in (1, 2, 3):
        at = rng.at(i)
        rows = torch.arange(len(state.images))
        if "batch_syn" in changes:
            rows = torch.randperm(len(rows), generator=at.stream("rows"))[:4]
        metrics, gradients = method.gradient(problem, state, at)
        expected = reference_gradient(method, problem, state, rows)
        assert gradients["images"].is_sparse == ("batch_syn" in changes)
        assert torch.allclose(gradients["images"].to_dense(), expected, rtol=1e-10, atol=1e-14)
        parts = method.recognition * metrics["teacher_loss"] - method.snapshots * metrics["disagreement"]
        assert metrics["objective"].item() == pytest.approx(parts.item(), rel=1e-12)
        step(method, problem, state, at)


def test_one_student_at_a_time_has_a_graph(problem):
    def peak(**changes):
        method, rng, ledger = replace(SMALL, **changes), Randomness(3), Ledger()
        state = begin(method, problem, rng)
        with torch.autograd.graph.saved_tensors_hooks(ledger.pack, lambda kept: kept.tensor):
            method.gradient(problem, state, rng.at(1))
        assert ledger.now == 0, "a graph was left behind"
        return ledger.most - state.students.nbytes  # where their weights are, with or without a graph

    assert peak(snapshots=4) == peak(snapshots=1)
    assert peak(chunk=1) < peak() / 2


def test_students_are_snapshots_of_one_training_on_the_teachers_logits(problem):
    rng = Randomness(0)
    state = begin(SMALL, problem, rng)
    at = rng.at(0)
    teacher = problem.teachers.teachers[int(state.teacher)]
    examples = Examples(state.images, teacher(state.images).detach(), criterion=F.l1_loss)
    start = problem.network.initial(at.stream("student/initial weights")).double()
    training = fit(
        problem.network,
        Fitted.start(problem.network, start),
        examples,
        SMALL.student_training,
        problem.augment,
        at.child("student"),
    )
    epochs = [fitted.params.clone() for fitted in training]
    assert torch.equal(state.students, torch.stack([epochs[1], epochs[3]]))


def test_students_are_renewed_when_they_are_due_and_never_between(problem):
    rng, seen = Randomness(0), []
    state = begin(replace(SMALL, refresh_every=3), problem, rng)
    for i in range(1, 8):
        seen.append(state.students.clone())  # what iteration i uses
        step(replace(SMALL, refresh_every=3), problem, state, rng.at(i))
    changed = [not torch.equal(one, other) for one, other in itertools.pairwise(seen)]
    assert changed == [False, False, True, False, False, True]


def test_one_teacher_is_drawn_from_the_pool_per_renewal(problem):
    rng = Randomness(0)
    method = replace(SMALL, refresh_every=1)
    state, drawn = begin(method, problem, rng), set()
    for i in range(1, 9):
        drawn.add(int(state.teacher))
        step(method, problem, state, rng.at(i))
    assert drawn == {0, 1}


def test_the_set_carries_raw_logits_and_hard_labels_are_a_variant(problem):
    state = begin(SMALL, problem, Randomness(0))
    made = SMALL.export(problem, state)
    assert made.label_kind == "logits"
    assert torch.allclose(made.targets, problem.teachers.teachers[0](state.images))
    both = replace(SMALL, label_teachers=2).export(problem, state).targets
    assert torch.allclose(both, sum(teacher(state.images) for teacher in problem.teachers.teachers) / 2)
    hard = SMALL.variants(problem, state)["hard_labels"]
    assert hard.label_kind == "hard"
    assert torch.equal(hard.targets, problem.initial_targets)
    assert torch.equal(hard.images, made.images)


def test_probabilities_instead_of_logits(problem):
    method = replace(SMALL, student_loss="ce")
    state = begin(method, problem, Randomness(0))
    made = method.export(problem, state)
    assert made.label_kind == "soft"
    assert torch.allclose(made.targets, problem.teachers.teachers[0](state.images).softmax(1))
    assert not torch.equal(state.students, begin(SMALL, problem, Randomness(0)).students)


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_a_run_on_parts_of_the_set_goes_on_to_the_same_bits(store, done):
    problem, method = tiny.problem(store), replace(SMALL, batch_syn=2)
    saved = {}

    def keep(progress):
        saved[progress.iteration] = {name: value.clone() for name, value in progress.state.tensors().items()}

    def run(**options):
        return distill(method, problem, iterations=5, rng=Randomness(1), **options).export()

    whole = run(observers=[keep])
    assert torch.equal(run(resume=(done, saved[done])).images, whole.images)


class TestLazyMomentum:
    RULE = Rule(lr=0.7, momentum=0.6, schedule=Drops((4, 9), 0.3))

    def pair(self):
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(6, 1, 2, 2, generator=generator, dtype=torch.float64)
        targets = torch.eye(6, dtype=torch.float64)
        return (kind(images, targets, Rates(images=self.RULE)) for kind in (LazySet, LearnableSet)), generator

    def test_is_dense_momentum(self):
        (lazy, dense), generator = self.pair()
        for update in range(15):
            rows = torch.randperm(6, generator=generator)[: 1 + update % 3]
            values = torch.randn(len(rows), 1, 2, 2, generator=generator, dtype=torch.float64)
            gradient = torch.sparse_coo_tensor(rows[None], values, lazy.images.shape, check_invariants=True)
            assert torch.allclose(lazy.rows(rows), dense.images[rows], rtol=1e-12, atol=1e-14)
            lazy.update({"images": gradient})
            dense.update({"images": gradient.to_dense()})
            assert torch.allclose(lazy.images, dense.images, rtol=1e-12, atol=1e-14)
            assert torch.equal(lazy.freeze().images, lazy.images)
        lazy.update({"images": torch.ones_like(dense.images)})
        dense.update({"images": torch.ones_like(dense.images)})
        assert torch.allclose(lazy.values["images"], dense.images, rtol=1e-12, atol=1e-14)

    def test_reading_changes_nothing(self):
        (lazy, _), _ = self.pair()
        ones = torch.ones(1, 1, 2, 2).double()
        one_row = torch.sparse_coo_tensor([[2]], ones, (6, 1, 2, 2), check_invariants=True)
        for _ in range(3):
            lazy.update({"images": one_row})
        before = {name: value.clone() for name, value in lazy.tensors().items()}
        _ = lazy.images, lazy.freeze(), lazy.rows(torch.tensor([0, 2]))
        assert all(torch.equal(value, before[name]) for name, value in lazy.tensors().items())

    def test_is_for_sgd_on_images_alone(self):
        blank = torch.zeros(2, 1, 1, 1)
        for rates in (Rates(images=Rule(lr=1.0, optimiser="adam")), Rates(images=1.0, targets=1.0)):
            with pytest.raises(ValueError, match="by SGD"):
                LazySet(blank, torch.eye(2), rates)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"snapshots": 3}, "multiple of snapshots, got 4 and 3"),
        ({"refresh_every": 0}, "at least 1"),
        ({"batch_syn": 0}, "at least 1"),
        ({"image_lr": 0.0}, "image_lr and decay must be positive"),
        ({"momentum": 1.0}, "momentum in"),
        ({"student_lr": 0.0}, "lr must be positive"),
    ],
)
def test_what_is_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)
