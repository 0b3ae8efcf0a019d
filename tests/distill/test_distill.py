"""The loop: order, readings, resuming, and what stops it."""

import math
from dataclasses import dataclass, field

import pytest
import torch

import tiny
from datadistill.core.errors import DivergenceError, NonFiniteError
from datadistill.core.randomness import Randomness
from datadistill.distill import Observer, distill
from datadistill.synthetic.learnable import LearnableSet, Rates


@dataclass(frozen=True)
class Scripted:
    """A method whose metrics and gradients are written down beforehand; writes down what happens."""

    metrics: dict = field(default_factory=dict)  # iteration -> metrics
    poison: int = 0  # iteration after which the images are not finite
    log: list = field(default_factory=list)
    needs = frozenset()
    expert_epochs_needed = 0
    unrolled = None
    variant_names = ()

    def init(self, problem, rng):
        self.log.append(("init", rng.iteration))
        return LearnableSet(problem.initial_images, problem.initial_targets, Rates(images=1.0))

    def gradient(self, problem, state, rng):
        self.log.append(("gradient", rng.iteration))
        values = {"matching_loss": 1.0 / rng.iteration, **self.metrics.get(rng.iteration, {})}
        gradient = torch.randn(state.images.shape, generator=rng.stream("x"))
        if rng.iteration == self.poison:
            gradient[0, 0, 0, 0] = math.inf
        return {name: torch.tensor(value) for name, value in values.items()}, {"images": gradient}

    def advance(self, problem, state, rng):
        self.log.append(("advance", rng.iteration))

    def export(self, problem, state):
        return state.freeze()

    def variants(self, problem, state):
        return {"other": state.freeze()}


@pytest.fixture
def problem():
    return tiny.problem(None)


def rows_of(collected):
    return [row["iteration"] for rows in collected for row in rows]


def run(method, problem, *, iterations=7, read_every=3, **options):
    """Run with an observer; return the rows handed to it per iteration."""
    seen = []
    distill(
        method,
        problem,
        iterations=iterations,
        rng=Randomness(0),
        read_every=read_every,
        observers=[lambda progress: seen.append((progress.iteration, progress.metrics))],
        **options,
    )
    return seen


class TestOrder:
    def test_gradient_update_advance_observe(self, problem):
        method = Scripted()
        before = problem.initial_images

        def first(progress):
            assert isinstance(first, Observer)
            method.log.append(("first", progress.iteration))
            assert not torch.equal(progress.state.images, before)

        def second(progress):
            method.log.append(("second", progress.iteration))

        distill(method, problem, iterations=2, rng=Randomness(0), observers=[first, second])
        each = ("gradient", "advance", "first", "second")
        assert method.log == [("init", 0), ("advance", 0), *((what, i) for i in (1, 2) for what in each)]

    def test_observers_see_the_set_of_that_iteration(self, problem):
        sets = []
        result = distill(
            Scripted(), problem, iterations=3, rng=Randomness(0), observers=[lambda p: sets.append(p.export().images)]
        )
        assert torch.equal(sets[-1], result.export().images)
        assert torch.equal(sets[-1], result.variants()["other"].images)
        assert result.iteration == 3
        assert len({tuple(images.flatten().tolist()) for images in sets}) == 3

    def test_observers_do_not_change_the_result(self, problem):
        watched = distill(
            Scripted(), problem, iterations=4, rng=Randomness(0), observers=[lambda p: p.export()], read_every=1
        )
        alone = distill(Scripted(), problem, iterations=4, rng=Randomness(0), read_every=100)
        assert torch.equal(watched.export().images, alone.export().images)

    def test_what_an_observer_raises_ends_the_run(self, problem):
        def stop(progress):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            distill(Scripted(), problem, iterations=4, rng=Randomness(0), observers=[stop])


class TestReadings:
    @pytest.mark.parametrize(
        ("read_every", "iterations", "read_at"),
        [(3, 7, [3, 6, 7]), (1, 4, [1, 2, 3, 4]), (10, 4, [4]), (4, 4, [4]), (2, 6, [2, 4, 6])],
    )
    def test_come_every_so_often_and_at_the_end(self, problem, read_every, iterations, read_at):
        seen = run(Scripted(), problem, iterations=iterations, read_every=read_every)
        assert [iteration for iteration, _ in seen] == list(range(1, iterations + 1))
        assert [iteration for iteration, rows in seen if rows] == read_at
        assert rows_of(rows for _, rows in seen) == list(range(1, iterations + 1))

    def test_hold_the_numbers_of_their_iteration(self, problem):
        rows = [row for _, rows in run(Scripted(), problem) for row in rows]
        assert rows == [{"iteration": i, "matching_loss": pytest.approx(1 / i)} for i in range(1, 8)]
        assert all(type(row["iteration"]) is int for row in rows)

    @pytest.mark.parametrize("done", range(8))
    def test_go_on_after_a_resume_anywhere(self, problem, done):
        states = {}
        distill(
            Scripted(),
            problem,
            iterations=7,
            rng=Randomness(0),
            observers=[lambda p: states.update({p.iteration: {k: t.clone() for k, t in p.state.tensors().items()}})],
        )
        tensors = states.get(done) or Scripted().init(problem, Randomness(0)).tensors()
        seen = run(Scripted(), problem, resume=(done, tensors))
        assert [iteration for iteration, _ in seen] == list(range(done + 1, 8))
        assert rows_of(rows for _, rows in seen) == list(range(done + 1, 8))
        assert [iteration for iteration, rows in seen if rows] == [i for i in (3, 6, 7) if i > done]

    def test_a_finished_run_only_exports(self, problem):
        method = Scripted()
        state = method.init(problem, Randomness(0))
        tensors = {name: tensor + 1 for name, tensor in state.tensors().items()}
        result = distill(method, problem, iterations=7, rng=Randomness(0), resume=(7, tensors))
        assert torch.equal(result.export().images, tensors["images"])
        assert result.iteration == 7
        assert [what for what, _ in method.log] == ["init", "init"]


class TestGuard:
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_metric_that_is_not_finite_is_named_with_its_iteration(self, problem, value):
        seen = []
        with pytest.raises(NonFiniteError, match=r"iteration 5: .*matching_loss.*smaller image_lr"):
            distill(
                Scripted({5: {"matching_loss": value}}),
                problem,
                iterations=9,
                rng=Randomness(0),
                read_every=3,
                observers=[lambda progress: seen.append(progress.iteration)],
            )
        assert seen == [1, 2, 3, 4, 5]  # found at the reading after 6, before anybody saw it

    @pytest.mark.parametrize(
        ("metric", "value", "message"),
        [
            ("student_lr", 10.5, "step size exploded"),
            ("matching_loss", 10_001.0, "matching loss exploded"),
        ],
    )
    def test_what_explodes_stops_the_run(self, problem, metric, value, message):
        with pytest.raises(DivergenceError, match=f"iteration 2: .*{message}.*{metric} "):
            run(Scripted({2: {metric: value}}), problem)

    @pytest.mark.parametrize(("metric", "value"), [("student_lr", 10.0), ("matching_loss", 10_000.0)])
    def test_what_is_only_large_does_not(self, problem, metric, value):
        seen = run(Scripted({i: {metric: value} for i in range(1, 8)}), problem)
        assert [row[metric] for _, rows in seen for row in rows] == [value] * 7

    def test_a_metric_that_comes_and_goes_is_read_where_it_is(self, problem):
        seen = run(Scripted({2: {"rare": 5.0}}), problem)
        assert [row.get("rare") for _, rows in seen for row in rows] == [None, 5.0, *[None] * 5]

    def test_a_state_that_is_not_finite_is_named(self, problem):
        seen = []
        with pytest.raises(NonFiniteError, match="iteration 6: images holds numbers that are not finite"):
            distill(
                Scripted(poison=4),
                problem,
                iterations=9,
                rng=Randomness(0),
                read_every=3,
                observers=[lambda progress: seen.append(progress.iteration)],
            )
        assert seen[-1] == 5

    def test_the_last_iteration_is_checked_whatever_the_interval(self, problem):
        with pytest.raises(NonFiniteError, match="iteration 4"):
            run(Scripted({4: {"matching_loss": math.nan}}), problem, iterations=4, read_every=100)
