"""TESLA as switches of MTT: its published rule, how far that is from the gradient, and labels by the target weights."""

import pytest
import torch

import tiny
from datadistill.core.randomness import Randomness
from datadistill.methods import MTT, step
from reference.unroll import cross_entropy_by

NEEDED = {"expert_epochs": 2, "student_steps": 4, "max_start_epoch": 2}


@pytest.fixture(params=["adjoint", "stored"])
def problem(request, store):
    return tiny.problem(store, network=tiny.SMOOTH_NETWORK, dtype=torch.float64, strategy=request.param)


def found(method, problem):
    state = method.init(problem, Randomness(0).at(0))
    return method.gradient(problem, state, Randomness(0).at(1))


def by_hand(method, problem):
    """The two passes as TESLA writes them: weights and the sum of gradients first, then one gradient at a time."""
    state = method.init(problem, Randomness(0).at(0))
    segment, steps = method.draw(problem, state, Randomness(0).at(1))
    loss = cross_entropy_by(problem.network)
    beta = state.student_lr[0]
    scale = (segment.start - segment.target).square().sum()

    def gradient(theta, images, t):
        rows = list(range(len(images))) if steps.rows[t] is None else steps.rows[t].tolist()
        x = problem.augment.apply(images[rows], steps.draws[t].rows(len(rows)))
        theta = theta.detach().requires_grad_()
        return torch.autograd.grad(loss(theta, x, state.targets[rows]), theta, create_graph=True)[0]

    theta, path, total = segment.start, [], torch.zeros_like(segment.start)
    for t in range(len(steps)):
        path.append(theta)
        g = gradient(theta, state.images, t).detach()
        theta, total = theta - beta * g, total + g
    images = state.images.clone().requires_grad_()
    pixels = torch.zeros_like(state.images)
    for t, at in enumerate(path):
        toward = beta * (segment.target - segment.start) + beta**2 * total
        scalar = 2 * torch.dot(toward, gradient(at, images, t)) / scale
        pixels += torch.autograd.grad(scalar, images)[0]
    learned = beta.clone().requires_grad_()
    value = (segment.start - learned * total - segment.target).square().sum() / scale
    return value.detach(), pixels, torch.autograd.grad(value, learned)[0]


@pytest.mark.parametrize("batch_syn", [None, 4])
@pytest.mark.parametrize(("rule", "part"), [("tesla", 1.0), ("tesla-as-shipped", 0.5)])
def test_the_rule_is_the_published_formula(problem, rule, part, batch_syn):
    method = MTT(**NEEDED, rule=rule, batch_syn=batch_syn, student_lr=0.3)
    metrics, gradients = found(method, problem)
    loss, pixels, learned = by_hand(method, problem)
    torch.testing.assert_close(metrics["matching_loss"], loss, rtol=1e-10, atol=0)
    assert (gradients["images"] - part * pixels).abs().max() <= 1e-10 * pixels.abs().max()
    torch.testing.assert_close(gradients["student_lr"][0], learned, rtol=1e-10, atol=1e-13)


def test_the_rule_is_not_the_gradient_and_worse_the_longer_and_larger_the_steps(problem):
    def cosine(steps, lr):
        settings = {**NEEDED, "student_steps": steps, "student_lr": lr}
        exact, truncated = (found(MTT(**settings, rule=rule), problem)[1]["images"] for rule in ("exact", "tesla"))
        return torch.cosine_similarity(exact.flatten(), truncated.flatten(), dim=0).item()

    assert cosine(1, 0.3) == pytest.approx(1, abs=1e-12)  # one step has no later ones
    short, long, large = cosine(3, 0.1), cosine(12, 0.1), cosine(12, 0.6)
    assert 1 - 1e-9 > short > long > large


def test_the_teacher_labels_the_images_as_they_are(problem):
    """The gradient is that of hard labels, had they been what the target weights see; nothing flows through them."""
    method = MTT(**NEEDED, labels="teacher", student_lr=0.3)
    metrics, gradients = found(method, problem)
    state = MTT(**NEEDED, student_lr=0.3).init(problem, Randomness(0))
    segment, _ = method.draw(problem, state, Randomness(0).at(1))
    state.targets.copy_(problem.network(segment.target, state.images).softmax(1))
    expected, same = MTT(**NEEDED, student_lr=0.3).gradient(problem, state, Randomness(0).at(1))
    assert torch.equal(metrics["matching_loss"], expected["matching_loss"])
    assert all(torch.equal(gradients[name], same[name]) for name in same)


def test_the_teacher_looks_at_parts_of_the_set(problem, monkeypatch):
    method = MTT(**NEEDED, labels="teacher", student_lr=0.3)
    whole = found(method, problem)[1]["images"]
    monkeypatch.setattr("datadistill.training.looking.LOOKED_AT", 4)
    torch.testing.assert_close(found(method, problem)[1]["images"], whole)


def test_the_exported_set_is_labelled_by_all_experts_at_the_latest_target(store):
    problem = tiny.problem(store)
    method = MTT(**NEEDED, labels="teacher", image_lr=1.0, average_decay=0.9)
    state = method.init(problem, Randomness(0).at(0))
    step(method, problem, state, Randomness(0).at(1))
    made = method.export(problem, state)
    ends = [problem.experts.segment(expert, 1, 2).target for expert in (0, 1)]
    expected = torch.stack([problem.network(end, made.images).softmax(1) for end in ends]).mean(0)
    torch.testing.assert_close(made.targets, expected)
    assert made.label_kind == "soft"
    averaged = method.variants(problem, state)["averaged"]
    assert not torch.equal(averaged.targets, made.targets)
    assert MTT(**NEEDED).export(problem, state).label_kind == "hard"
