"""ATT: MTT where the last step is the nearest, the k of a plain search elsewhere, and the average."""

from dataclasses import replace

import pytest
import torch

import tiny
from datadistill.core.randomness import Randomness
from datadistill.methods import ATT, MTT, step
from datadistill.synthetic.averaging import AveragedSet
from datadistill.synthetic.learnable import LearnableSet, Rates

NEEDED = {"expert_epochs": 2, "student_steps": 6, "max_start_epoch": 2}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("experts")


@pytest.fixture(params=["adjoint", "stored"])
def problem(request, store):
    return tiny.problem(store, network=tiny.SMOOTH_NETWORK, dtype=torch.float64, strategy=request.param)


def found(method, problem, iteration=1):
    state = method.init(problem, Randomness(0).at(0))
    return method.gradient(problem, state, Randomness(0).at(iteration))


def by_hand(method, problem, iteration, norm):
    """Return k and the gradients by trying every number of steps with MTT and taking the nearest."""
    rng = Randomness(0).at(iteration)
    state = method.init(problem, Randomness(0).at(0))
    segment, steps = method.draw(problem, state, rng)
    ends = [
        problem.unroll(
            segment.start,
            state.images,
            state.targets,
            state.student_lr,
            replace(steps, rows=steps.rows[:n]),
            lambda end: (end - segment.target).square().sum() / (segment.start - segment.target).square().sum(),
        )
        for n in range(1, len(steps) + 1)
    ]
    distances = torch.stack([(end.params - segment.target).norm(p=norm) for end in ends])
    k = int(distances.argmin()) + 1
    return k, ends[k - 1]


@pytest.mark.parametrize(("select_norm", "norm"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("batch_syn", [None, 4])
def test_ends_at_the_nearest_step_and_differentiates_up_to_it(problem, select_norm, norm, batch_syn):
    seen = set()
    for student_lr in (0.02, 0.5, 3.0):
        method = ATT(**NEEDED, select_norm=select_norm, batch_syn=batch_syn, student_lr=student_lr)
        for iteration in (1, 2, 3):
            metrics, gradients = found(method, problem, iteration)
            k, expected = by_hand(method, problem, iteration, norm)
            assert metrics["end_step"].item() == k
            torch.testing.assert_close(metrics["matching_loss"], expected.loss, rtol=1e-10, atol=0)
            torch.testing.assert_close(gradients["images"], expected.images, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(gradients["student_lr"], expected.student_lr, rtol=1e-9, atol=1e-12)
            seen.add(k)
    assert len(seen) > 1, "always the same step: nothing was chosen"


def test_is_mtt_where_the_last_step_is_the_nearest(problem):
    settings = {**NEEDED, "student_lr": 1e-4}
    metrics, gradients = found(ATT(**settings), problem)
    assert metrics["end_step"].item() == NEEDED["student_steps"]
    plain, expected = found(MTT(**settings), problem)
    assert torch.equal(metrics["matching_loss"], plain["matching_loss"])
    assert all(torch.equal(gradients[name], expected[name]) for name in expected)


class TestAverage:
    def walked(self, decay, *, corrected, updates=5):
        images = torch.randn(2, 1, 3, 3, generator=Randomness(0).stream("images"), dtype=torch.float64)
        targets = torch.eye(2, dtype=torch.float64)
        start = LearnableSet(images, targets, Rates(images=0.1, momentum=0.0))
        state, path = AveragedSet(start, decay, corrected=corrected), []
        for number in range(updates):
            state.update({"images": torch.full_like(images, float(number))})
            path.append(state.images.clone())
        return state, images, path

    @pytest.mark.parametrize("decay", [0.3, 0.999])
    def test_uncorrected_is_the_formula_from_the_initial_images(self, decay):
        state, expected, path = self.walked(decay, corrected=False)
        for images in path:
            expected = decay * expected + (1 - decay) * images
        torch.testing.assert_close(state.averaged().images, expected)

    @pytest.mark.parametrize("decay", [0.3, 0.999])
    def test_corrected_weighs_the_path_alone(self, decay):
        state, _, path = self.walked(decay, corrected=True)
        weights = torch.tensor([decay ** (len(path) - 1 - t) for t in range(len(path))], dtype=torch.float64)
        expected = torch.einsum("t,tnchw->nchw", weights / weights.sum(), torch.stack(path))
        torch.testing.assert_close(state.averaged().images, expected)

    @pytest.mark.parametrize("corrected", [True, False])
    def test_before_the_first_update_it_is_the_set(self, corrected):
        state, images, _ = self.walked(0.9, corrected=corrected, updates=0)
        assert torch.equal(state.averaged().images, images)

    def test_the_images_themselves_are_those_without_an_average(self, store):
        problem = tiny.problem(store)
        ends = []
        for decay in (None, 0.9):
            method = ATT(**NEEDED, average_decay=decay)
            state = method.init(problem, Randomness(0).at(0))
            for i in (1, 2, 3):
                step(method, problem, state, Randomness(0).at(i))
            ends.append(method.export(problem, state))
            variants = method.variants(problem, state)
            assert list(variants) == ([] if decay is None else ["averaged"])
        assert torch.equal(ends[0].images, ends[1].images)
        assert not torch.equal(variants["averaged"].images, ends[1].images)
        assert torch.equal(variants["averaged"].student_lr, ends[1].student_lr)


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_impossible_decays_are_refused(decay):
    with pytest.raises(ValueError, match="average_decay"):
        ATT(**NEEDED, average_decay=decay)
