"""What lives while a training is differentiated: the adjoint keeps one step's graph, however many there are."""

import weakref

import pytest
import torch


class Ledger:
    """Counts the bytes that autograd keeps, now and at most."""

    def __init__(self):
        self.now = self.most = 0

    def pack(self, tensor):
        kept = _Kept(tensor)
        size = tensor.numel() * tensor.element_size()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(kept, self.release, size)
        return kept

    def release(self, size):
        self.now -= size


class _Kept:
    def __init__(self, tensor):
        self.tensor = tensor.detach()  # a saved output would otherwise keep the graph that keeps it


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
