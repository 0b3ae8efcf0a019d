"""The learnable set: SGD with momentum for the pixels, a step size that stays positive, strict restoring."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datadistill.core.errors import CorruptFileError
from datadistill.core.resumable import Resumable
from datadistill.synthetic.learnable import LearnableSet, Rates
from datadistill.synthetic.rules import Rule

N, K = 4, 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def learnable(*, student_lr=(0.1,), dtype=torch.float64, **rates):
    images = torch.randn(N, 1, 3, 3, generator=generator(), dtype=dtype)
    targets = torch.eye(K, dtype=dtype)[torch.arange(N) % K]
    chosen = Rates(**{"images": 2.0, "student_lr": 0.5, "momentum": 0.7, **rates})
    lr = None if student_lr is None else torch.tensor(student_lr, dtype=torch.float64)
    return LearnableSet(images, targets, chosen, lr)


def gradients_for(state, seed=0):
    drawn = generator(seed)
    return {name: torch.randn(value.shape, generator=drawn, dtype=value.dtype) for name, value in state.values.items()}


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_pixels_and_targets_are_updated_by_sgd_with_momentum(momentum):
    state = learnable(targets=0.3, momentum=momentum)
    images, targets = (tensor.clone().requires_grad_() for tensor in (state.images, state.targets))
    optimisers = [torch.optim.SGD([tensor], lr=lr, momentum=momentum) for tensor, lr in ((images, 2.0), (targets, 0.3))]
    for seed in range(5):
        gradients = gradients_for(state, seed)
        images.grad, targets.grad = gradients["images"].clone(), gradients["targets"].clone()
        for optimiser in optimisers:
            optimiser.step()
        state.update(gradients)
        torch.testing.assert_close(state.images, images.detach(), rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(state.targets, targets.detach(), rtol=1e-14, atol=1e-14)


def test_what_has_no_rate_is_not_learned():
    state = learnable(student_lr=(0.1,), targets=None)
    before = state.targets.clone()
    state.update(gradients_for(state))
    assert torch.equal(state.targets, before)
    assert set(state.tensors()) == {"images", "targets", "student_lr", "velocity.images", "velocity.student_lr"}


def test_a_missing_gradient_of_a_learned_tensor_is_an_error():
    with pytest.raises(KeyError):
        learnable().update({"images": torch.zeros(N, 1, 3, 3, dtype=torch.float64)})


class TestStepSize:
    @given(
        st.floats(1e-6, 10),
        st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=4),
        st.sampled_from([torch.float32, torch.float64]),
    )
    def test_stays_positive_for_any_gradients(self, alpha, numbers, dtype):
        state = learnable(student_lr=(alpha,), dtype=dtype)
        images = torch.zeros_like(state.images)
        for number in numbers:
            before = state.student_lr.clone()
            state.update({"images": images, "student_lr": torch.tensor([number], dtype=dtype)})
            assert (state.student_lr > 0).all()
            fell = state.velocities["student_lr"] > 0
            assert (state.student_lr[fell] <= before[fell]).all()
            assert (state.student_lr[~fell] >= before[~fell]).all()

    @pytest.mark.parametrize("sign", [1, -1])
    def test_equals_plain_descent_to_first_order(self, sign):
        """The error is of second order: ten times smaller a step, a hundred times smaller an error."""
        errors = []
        for size in (1e-2, 1e-3):
            state = learnable(student_lr=(0.3, 0.2), momentum=0.0)
            before = state.student_lr.clone()
            gradient = sign * size * torch.tensor([1.0, 2.0], dtype=torch.float64)
            state.update({"images": torch.zeros_like(state.images), "student_lr": gradient})
            errors.append((state.student_lr - (before - 0.5 * gradient)).abs().max().item())
        if sign < 0:
            assert errors == [0, 0]  # a rise is added as it is
        else:
            assert errors[0] / errors[1] == pytest.approx(100, rel=0.05)
            assert errors[0] < 1e-3

    def test_uses_the_momentum(self):
        state = learnable(momentum=0.5)
        rise = {"images": torch.zeros_like(state.images), "student_lr": -torch.ones(1, dtype=torch.float64)}
        for velocity in (1.0, 1.5, 1.75):
            before = state.student_lr.clone()
            state.update(rise)
            assert (state.student_lr - before).item() == pytest.approx(0.5 * velocity)


class TestState:
    def test_is_resumable_and_goes_on_from_what_it_wrote(self):
        state = learnable()
        assert isinstance(state, Resumable)
        for seed in range(3):
            state.update(gradients_for(state, seed))
        kept = {name: tensor.clone() for name, tensor in state.tensors().items()}
        other = learnable(student_lr=(0.5,))
        other.restore(kept)
        for one in (state, other):
            one.update(gradients_for(one, 9))
        assert all(torch.equal(state.tensors()[name], other.tensors()[name]) for name in kept)
        assert not torch.equal(kept["images"], state.images), "restore took the tensors themselves over"

    @pytest.mark.parametrize(
        "damage",
        [
            lambda tensors: tensors.pop("velocity.images"),
            lambda tensors: tensors.pop("student_lr"),
            lambda tensors: tensors.update(extra=torch.zeros(1)),
            lambda tensors: tensors.update(images=torch.zeros(N + 1, 1, 3, 3)),
            lambda tensors: tensors.update(student_lr=torch.zeros(2)),
        ],
    )
    def test_refuses_names_and_shapes_that_are_not_its_own(self, damage):
        state = learnable()
        before = {name: tensor.clone() for name, tensor in state.tensors().items()}
        tensors = {name: torch.ones_like(tensor) for name, tensor in before.items()}
        damage(tensors)
        with pytest.raises(CorruptFileError, match="checkpoint"):
            state.restore(tensors)
        assert all(torch.equal(before[name], tensor) for name, tensor in state.tensors().items())

    def test_copies_what_it_starts_from(self):
        images, targets = torch.zeros(N, 1, 3, 3), torch.eye(K)[torch.arange(N) % K]
        state = LearnableSet(images, targets, Rates(images=1.0), torch.tensor([0.1]))
        state.update({"images": torch.ones_like(images)})
        assert not images.any()
        assert torch.equal(state.student_lr, torch.tensor([0.1]))

    def test_freezes_into_a_copy(self):
        state = learnable()
        frozen = state.freeze()
        assert set(frozen.tensors()) == {"images", "targets", "student_lr"}
        kept = frozen.images.clone()
        state.update(gradients_for(state))
        assert torch.equal(frozen.images, kept)
        assert not torch.equal(state.images, kept)

    def test_without_a_step_size(self):
        state = learnable(student_lr=None)
        assert state.freeze().student_lr is None
        state.update(gradients_for(state))
        assert "student_lr" not in state.tensors()


class TestClipping:
    def clipped(self, norms, clip=2.0):
        rule = Rule(lr=1.0, clip=clip)
        state = LearnableSet(torch.zeros(1, 1, 1, 1).double(), torch.ones(1, 1).double(), Rates(images=rule))
        places = []
        for norm in norms:
            before = state.images.clone()
            state.update({"images": torch.full((1, 1, 1, 1), float(norm)).double()})
            places.append((before - state.images).item())
        return places, state

    def test_a_gradient_of_more_than_twice_its_usual_norm_is_cut(self):
        places, state = self.clipped([1, 1.5, 100, 100])
        assert places[:2] == [1, 1.5]
        assert places[2] == pytest.approx(2 * 1.05)
        average = 0.9 * 1.05 + 0.1 * 2.1
        assert places[3] == pytest.approx(2 * average)
        assert state.norms["images"].item() == pytest.approx(0.9 * average + 0.2 * average)

    def test_nothing_is_cut_before_there_is_a_norm(self):
        assert self.clipped([0, 0, 7])[0] == [0, 0, 7]

    def test_wrong_multiples_are_refused(self):
        with pytest.raises(ValueError, match="clip must be positive"):
            Rule(lr=1.0, clip=0.0)
