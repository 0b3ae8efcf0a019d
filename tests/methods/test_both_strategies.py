"""Whatever a method is told, both strategies give the same gradient, in float64."""

import pytest
import torch

import tiny
from datadistill.core.randomness import Randomness
from datadistill.methods import ATT, DATM, MTT

NEEDED = {"expert_epochs": 2, "student_steps": 4, "max_start_epoch": 2, "student_lr": 0.3}
METHODS = {
    "hard labels": MTT(**NEEDED),
    "labels of the target weights": MTT(**NEEDED, labels="teacher", batch_syn=4),
    "TESLA": MTT(**NEEDED, rule="tesla", batch_syn=4),
    "several segments": MTT(**NEEDED, segments=2),
    "nearest by L1": ATT(**NEEDED, batch_syn=4),
    "nearest by L2": ATT(**NEEDED, select_norm="l2", segments=2),
    "learned labels": DATM(**NEEDED, label_lr=1.0, batch_syn=4),
}


@pytest.mark.parametrize("name", METHODS)
def test_agree_on_every_gradient(store, name):
    def found(strategy):
        problem = tiny.problem(store, network=tiny.SMOOTH_NETWORK, dtype=torch.float64, strategy=strategy)
        state = METHODS[name].init(problem, Randomness(0).at(0))
        return METHODS[name].gradient(problem, state, Randomness(0).at(1))

    (metrics, adjoint), (others, stored) = found("adjoint"), found("stored")
    assert set(adjoint) == set(stored)
    for mine, theirs in ((metrics, others), (adjoint, stored)):
        for key, value in theirs.items():
            assert value.dtype == torch.float64 or key == "end_step"
            assert (mine[key] - value).abs().max() <= 1e-10 * value.abs().max(), key
            assert value.any()
