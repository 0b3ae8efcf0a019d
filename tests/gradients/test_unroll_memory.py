"""What lives while a training is differentiated: the adjoint keeps one step's graph, however many there are."""

from dataclasses import replace

import pytest
import torch

from datadistill.losses.real import RealLoss
from datadistill.methods import BackProp
from datadistill.stages import memory
from datadistill.synthetic.texture import Texture
from ledger import Ledger


def peak(problem, strategy, **engine):
    ledger = Ledger()
    with torch.autograd.graph.saved_tensors_hooks(ledger.pack, lambda kept: kept.tensor):
        problem.ours(strategy, **engine)
    assert ledger.now == 0, "a graph was left behind"
    return ledger.most


@pytest.mark.parametrize("augment", ["none", "dsa:rotate"])
def test_the_adjoint_does_not_grow_with_the_steps(case, augment):
    short, long = (case("convnet-2-w8", steps=steps, batch_size=None, augment=augment) for steps in (2, 12))
    assert peak(short, "adjoint") == peak(long, "adjoint")
    assert peak(long, "stored") > 5 * peak(short, "stored")  # the ledger can tell


SWITCHES = {
    "mini-batches": {"batch_size": 3},
    "a step size per step": {"rates": True},
    "canvases": {"texture": Texture(samples=2)},
    "the nearest end": {"nearest": lambda end: torch.zeros(())},  # the last of equal ones
    "truncated": {"truncated": True},
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_nor_does_it_with_any_switch(case, switch):
    def made(steps):
        options = {"batch_size": None, **SWITCHES[switch]}
        rates = steps if options.pop("rates", False) else 1
        return case("convnet-2-w8", steps=steps, rates=rates, augment="dsa:flip", **options)

    drawn = 1.01  # rows and places of windows are drawn for all steps at once, a few numbers per step
    assert peak(made(12), "adjoint") <= drawn * peak(made(2), "adjoint")


def test_a_micro_batch_bounds_the_graph(case):
    problem = case("convnet-2-w8", images=8, batch_size=None)
    assert peak(problem, "adjoint", micro_batch=2) < 0.5 * peak(problem, "adjoint")


def test_a_window_bounds_the_stored_graph(case):
    whole, cut = (case("convnet-2-w8", steps=12, batch_size=None, window=window) for window in (None, 2))
    assert peak(cut, "stored") < 0.4 * peak(whole, "stored")


def test_looking_for_the_end_point_keeps_no_graph(case):
    plain = case("convnet-2-w8", steps=6, batch_size=None)
    last = plain.reference()["params"]
    searching = plain.with_options(nearest=lambda end: (end - last).abs().sum())
    for strategy in ("adjoint", "stored"):
        assert peak(searching, strategy) == peak(plain, strategy)


@pytest.mark.parametrize("network", ["convnet-2-w8", "convnet-2-w32", "convnet-2-w8-batchnorm", "mlp"])
def test_the_plan_estimates_what_is_measured(case, network):
    """Within 15 % for graph and weights of all steps; for the adjoint, with its working memory, not too little."""
    problem = case(network, images=9, steps=5, batch_size=None).single_precision()
    planned = memory.estimate(problem.network, (3, 8, 8), 3, batch=9, steps=5)
    assert (planned.step + planned.vector) * planned.steps == pytest.approx(peak(problem, "stored"), rel=0.15)
    assert planned.vector == 4 * problem.network.parameter_count
    assert memory.peak(planned, memory.Settings()) > peak(problem, "adjoint") + 5 * planned.vector


@pytest.mark.parametrize("network", ["convnet-2-w8", "lenet"])
def test_the_plan_estimates_the_loss_on_real_images(case, network):
    problem = case(network, shape=(3, 16, 16), steps=1).single_precision()
    method = BackProp(batches=2, passes=3, batch_real=20)
    planned = memory.estimate_method(problem.network, (3, 16, 16), 3, method.unrolled, images=12)
    assert (planned.batch, planned.steps) == (6, 6)
    real = RealLoss(problem.network, torch.zeros(20, 3, 16, 16), torch.zeros(20, dtype=torch.int64))
    ledger, params = Ledger(), problem.start.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(ledger.pack, lambda kept: kept.tensor):
        _ = real(params)
    assert planned.loss == pytest.approx(ledger.most, rel=0.15)
    small = memory.estimate_method(problem.network, (3, 16, 16), 3, BackProp(batch_real=1).unrolled, images=60)
    assert memory.peak(replace(small, loss=planned.loss), memory.Settings()) >= planned.loss
