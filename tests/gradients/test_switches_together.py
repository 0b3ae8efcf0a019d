"""Every switch of a student's training with every other, in float64: both strategies, exact and truncated."""

import pytest
import torch

from datadistill.synthetic.texture import Texture
from reference.unroll import cross_entropy_by

STRATEGIES = ("adjoint", "stored")
SPARSE = {"keep_every": 3, "micro_batch": 3}


@pytest.fixture(params=["ends last", "ends early"])
def problem(request, case, batch_size, rates, texture):
    """Five steps under DSA on soft labels, which end last, or after three: there the path is nearest to a place."""
    made = case(steps=5, augment="dsa", batch_size=batch_size, rates=rates, texture=texture)
    if request.param == "ends last":
        return made
    path = []
    made.with_options(nearest=lambda end: path.append(end) or torch.zeros(())).ours()
    place = path[2] + 1e-4
    return made.with_options(nearest=lambda end: (end - place).abs().sum())


def truncated_by_hand(problem, k):
    """Walk the path first; then every gradient is one of images and labels alone, at weights that are constants."""
    loss, steps = cross_entropy_by(problem.network), problem.steps

    def gradient(theta, images, targets, t):
        rows = torch.arange(len(images)) if steps.rows[t] is None else steps.rows[t]
        x = problem.augment.apply(steps.seen(images[rows], t), steps.draws[t].rows(len(rows)))
        theta = theta.detach().requires_grad_()
        return torch.autograd.grad(loss(theta, x, targets[rows]), theta, create_graph=True)[0]

    leaves = [t.clone().requires_grad_() for t in (problem.images, problem.targets, problem.student_lr)]
    images, targets, student_lr = leaves
    alphas, end = student_lr.expand(len(steps)), problem.start
    for t in range(k):
        end = end - alphas[t] * gradient(end, images, targets, t)
    value = problem.loss(end)
    found = torch.autograd.grad(value, leaves, materialize_grads=True)
    names = ("images", "targets", "student_lr")
    return {"loss": value.detach(), "end_step": k, "params": end.detach(), **dict(zip(names, found, strict=True))}


@pytest.mark.parametrize("texture", [None, Texture(samples=2)], ids=["images", "canvases"])
@pytest.mark.parametrize("rates", [1, 5])
@pytest.mark.parametrize("batch_size", [None, 4])
class TestEverySwitchWithEveryOther:
    def test_exact(self, problem, agree):
        expected = problem.reference()
        for strategy in STRATEGIES:
            agree(problem.ours(strategy), expected)
        agree(problem.ours(**SPARSE), expected)

    def test_truncated(self, problem, agree):
        exact = problem.ours()
        problem = problem.with_options(**problem.options, truncated=True)
        expected = truncated_by_hand(problem, exact.end_step)
        for strategy in STRATEGIES:
            agree(problem.ours(strategy), expected)
        agree(problem.ours(**SPARSE), expected)
        assert not torch.allclose(expected["images"], exact.images, rtol=1e-6), "nothing was left out"
