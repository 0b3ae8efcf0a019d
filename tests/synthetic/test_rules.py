"""Update rules: torch's own optimisers and schedules, tensor by tensor, and bit for bit after a stop."""

import math
from dataclasses import replace

import pytest
import torch

import tiny
from datadistill.core.randomness import Randomness
from datadistill.methods import MTT
from datadistill.synthetic.learnable import LearnableSet, Rates
from datadistill.synthetic.rules import Cosine, Drops, Rule, schedule

UPDATES = 12


def learnable(**rules):
    images = torch.randn(3, 1, 2, 2, generator=Randomness(0).stream("images"), dtype=torch.float64)
    targets = torch.rand(3, 2, generator=Randomness(0).stream("targets"), dtype=torch.float64)
    return LearnableSet(images, targets, Rates(**rules))


def gradients(state, number):
    rng = Randomness(number)
    return {name: torch.randn(v.shape, generator=rng.stream(name)).double() for name, v in state.values.items()}


def torch_lrs(build):
    """The step sizes of one of torch's schedulers, as parts of the first."""
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler, seen = build(optimiser), []
    for _ in range(UPDATES):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return seen


OF_TORCH = {
    "sgd": (Rule(lr=0.3), lambda x: torch.optim.SGD([x], lr=0.3)),
    "momentum": (Rule(lr=0.3, momentum=0.9), lambda x: torch.optim.SGD([x], lr=0.3, momentum=0.9)),
    "adam": (
        Rule(lr=0.3, optimiser="adam", betas=(0.5, 0.99)),
        lambda x: torch.optim.Adam([x], lr=0.3, betas=(0.5, 0.99)),
    ),
}
SCHEDULES = {
    "constant": (None, lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1.0)),
    "cosine": (Cosine(UPDATES), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=UPDATES)),
    "drops": (Drops((3, 7), 0.5), lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones=[3, 7], gamma=0.5)),
}


@pytest.mark.parametrize("scheduled", SCHEDULES)
@pytest.mark.parametrize("rule", OF_TORCH)
def test_a_tensor_follows_the_optimiser_of_torch_and_the_others_their_own(rule, scheduled):
    chosen, build = OF_TORCH[rule]
    plan, build_schedule = SCHEDULES[scheduled]
    rules = {"images": Rule(**{**vars(chosen), "schedule": plan}), "targets": Rule(lr=0.01, momentum=0.5)}
    state = learnable(**rules)
    images, targets = (tensor.clone().requires_grad_() for tensor in (state.images, state.targets))
    optimisers = [build(images), torch.optim.SGD([targets], lr=0.01, momentum=0.5)]
    changing = build_schedule(optimisers[0])
    for number in range(UPDATES):
        found = gradients(state, number)
        images.grad, targets.grad = found["images"].clone(), found["targets"].clone()
        for optimiser in optimisers:
            optimiser.step()
        changing.step()
        state.update(found)
        torch.testing.assert_close(state.images, images.detach(), rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(state.targets, targets.detach(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["cosine", "drops"])
def test_schedules_are_those_of_torch(name):
    plan, build = SCHEDULES[name]
    assert [plan(done) for done in range(UPDATES)] == pytest.approx(torch_lrs(build), abs=1e-12)


def test_schedules_by_name():
    assert schedule("constant", None) is None
    assert schedule("cosine", 10) == Cosine(10)
    assert schedule("step", 11) == Drops((5,), 0.1)
    assert Cosine(10)(25) == 0
    with pytest.raises(ValueError, match="'cosine' needs to know how many iterations"):
        schedule("cosine", None)


def test_a_checkpoint_holds_what_its_rules_need_and_nothing_else():
    plain = learnable(images=1.0, targets=Rule(lr=1.0, momentum=0.9))
    assert set(plain.tensors()) == {"images", "targets", "velocity.images", "velocity.targets"}
    adam = learnable(images=Rule(lr=1.0, optimiser="adam"))
    assert set(adam.tensors()) == {"images", "targets", "velocity.images", "square.images", "updates"}
    assert "updates" in learnable(images=Rule(lr=1.0, schedule=Drops((1,)))).tensors()


@pytest.mark.parametrize("stopped_after", [1, 4])
def test_goes_on_bit_for_bit(stopped_after):
    rules = {
        "images": Rule(lr=0.1, optimiser="adam", schedule=Cosine(UPDATES)),
        "targets": Rule(lr=0.1, momentum=0.9, schedule=Drops((2, 5))),
    }
    whole, again = learnable(**rules), learnable(**rules)
    for number in range(UPDATES):
        if number == stopped_after:
            again.restore({name: tensor.clone() for name, tensor in whole.tensors().items()})
        for state in (whole, again) if number >= stopped_after else (whole,):
            state.update(gradients(state, number))
    assert all(torch.equal(tensor, again.tensors()[name]) for name, tensor in whole.tensors().items())


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"lr": -1.0}, "step size"),
        ({"lr": math.nan}, "step size"),
        ({"lr": 1.0, "momentum": 1.0}, "momentum"),
        ({"lr": 1.0, "betas": (0.9, 1.0)}, "betas"),
        ({"lr": 1.0, "optimiser": "adam", "momentum": 0.5}, "adam has betas"),
    ],
)
def test_impossible_rules_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        Rule(**wrong)


def test_impossible_schedules_are_refused():
    with pytest.raises(ValueError, match="iterations"):
        Cosine(0)
    with pytest.raises(ValueError, match="factor"):
        Drops((1,), 0.0)


def test_the_images_of_a_run_follow_the_schedule_of_the_method(tmp_path):
    method = MTT(expert_epochs=2, student_steps=2, max_start_epoch=1, image_lr=8.0, image_lr_schedule="cosine")
    problem = replace(tiny.problem(tmp_path), iterations=4)
    state = method.init(problem, Randomness(0))
    rates = [state.rules["images"].lr_at(done) for done in range(4)]
    assert rates == pytest.approx([8.0, 8.0 * (1 + math.sqrt(0.5)) / 2, 4.0, 8.0 * (1 - math.sqrt(0.5)) / 2])
    assert state.rules["student_lr"] == Rule(lr=method.student_lr_lr, momentum=method.momentum)
    with pytest.raises(ValueError, match="how many iterations"):
        method.init(replace(problem, iterations=None), Randomness(0))
