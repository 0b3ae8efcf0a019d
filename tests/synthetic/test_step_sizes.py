"""Step sizes through a softplus: exact inverse, exact gradient, nothing but positive."""

import pytest
import torch

from datadistill.synthetic.learnable import Rates
from datadistill.synthetic.rules import Rule
from datadistill.synthetic.step_sizes import SoftLabelledSoftplusSet, SoftplusSet

RATES = Rates(images=0.1, label_logits=0.1, raw_student_lr=Rule(lr=0.5, optimiser="adam", betas=(0.5, 0.999)))


def softplus_set(values, kind=SoftplusSet):
    images = torch.zeros(4, 1, 2, 2, dtype=torch.float64)
    return kind(images, torch.eye(2, dtype=torch.float64)[torch.arange(4) % 2], RATES, torch.tensor(values).double())


@pytest.mark.parametrize("values", [(1e-6, 0.02, 1.0), (30.0, 100.0)])
def test_the_first_step_sizes_are_those_that_were_given(values):
    torch.testing.assert_close(softplus_set(values).student_lr, torch.tensor(values).double(), rtol=1e-9, atol=0)


def test_the_gradient_goes_through_the_softplus():
    state = softplus_set((0.02, 0.5))
    raw = state.values["raw_student_lr"].clone().requires_grad_()
    (expected,) = torch.autograd.grad((torch.nn.functional.softplus(raw) * torch.tensor([3.0, -2.0])).sum(), raw)
    torch.testing.assert_close(state.through_softplus(torch.tensor([3.0, -2.0]).double()), expected)


def test_step_sizes_stay_positive_under_adam():
    state = softplus_set((0.02, 0.5))
    for _ in range(100):
        state.update({"images": torch.zeros_like(state.images), "raw_student_lr": torch.ones(2).double()})
    assert (state.student_lr > 0).all()
    assert (state.student_lr < 1e-9).all()


def test_freezing_gives_step_sizes_and_restoring_gives_the_state():
    state, other = softplus_set((0.02, 0.5)), softplus_set((1.0, 2.0))
    assert set(state.freeze().tensors()) == {"images", "targets", "student_lr"}
    torch.testing.assert_close(state.freeze().student_lr, torch.tensor([0.02, 0.5]).double())
    other.restore({name: tensor.clone() for name, tensor in state.tensors().items()})
    assert torch.equal(other.student_lr, state.student_lr)


def test_labels_can_be_learned_beside_them():
    state = softplus_set((0.02,), SoftLabelledSoftplusSet)
    assert {"label_logits", "raw_student_lr"} <= set(state.tensors())
    torch.testing.assert_close(state.freeze().targets.sum(1), torch.ones(4).double())
    torch.testing.assert_close(state.freeze().student_lr, torch.tensor([0.02]).double())
