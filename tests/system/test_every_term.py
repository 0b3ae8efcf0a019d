"""Every method with every term, in every kind of network: two real iterations, and an evaluation."""

from pathlib import Path

import numpy as np
import pytest

import datadistill as dd
from datadistill.methods.terms import TERMS
from datadistill.runtime.metrics import read_rows
from layouts import noise

METHODS = {
    "dc": ("dc_digits", "method.dc.outer_loop=2", "method.dc.inner_loop=1"),
    "dsa": ("dc_digits", "method.dc.outer_loop=2", "method.dc.inner_loop=1", "augment=dsa"),
    "dm": ("dm_digits", "augment=dsa"),
    "mtt": ("mtt_digits_ipc1", "method.mtt.student_steps=2", "method.mtt.max_start_epoch=1"),
    "att": ("att_digits_ipc1", "method.att.student_steps=2", "method.att.max_start_epoch=1"),
    "datm": (
        "datm_digits_ipc1",
        "experts.epochs=3",
        "method.datm.student_steps=2",
        "method.datm.max_start_epoch=1",
        "method.datm.first_max_start_epoch=",
        "method.datm.expansion_iterations=",
    ),
    "backprop": (
        "dd_digits",
        "method.backprop.passes=1",
        "method.backprop.networks=1",
        "evaluate.baselines=random",
        "evaluate.baseline_lrs=",
    ),
    "apm": ("apm_digits", "method.apm.student_epochs=1", "method.apm.snapshots=1"),
}
NETWORKS = ("convnet-3-w8", "convnet-3-w8-batchnorm", "alexnet", "vgg-11", "resnet-18")
SHORT = (
    "validation=0",
    "ipc=2",
    "iterations=2",
    "experts.count=1",
    "teachers.count=1",
    "teachers.training.epochs=1",
    "evaluate.networks=1",
    "evaluate.epochs=1",
    "evaluate.random_draws=0",
    "full.networks=0",
    "watch.log_every=1",
    "watch.checkpoint_every=2",
    "watch.probe_every=0",
    "watch.frame_every=2",
    "engine.compiled=no",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experts and teachers are shared by the terms."""
    return tmp_path_factory.mktemp("experts")


@pytest.mark.filterwarnings("ignore:.*initial images are recognised by no expert")
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("term", [None, *TERMS])
@pytest.mark.parametrize("method", METHODS)
def test_runs_and_is_judged(method: str, term: str | None, network: str, store: Path, tmp_path: Path) -> None:
    labels = np.arange(8) % 2
    train, test = (noise(8, 32, 32, 3, seed=seed) for seed in (0, 1))
    data = dd.from_arrays(train, labels, test, labels, classes=["a", "b"], name="noise")
    recipe, *settings = METHODS[method]
    settings += [*SHORT, f"network={network}", f"store={store}"]
    settings += [f"terms.{term}.alphas=2", f"terms.{term}.batch_size=3"] if term else []
    outcome = dd.run(recipe, *settings, out=tmp_path / "run", data=data, device="cpu")
    rows = [row for row in read_rows(outcome.run.metrics) if len(row) > 1]
    assert [row["iteration"] for row in rows] == [1, 2]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    assert all((term in row) == (term is not None) for row in rows)
    assert outcome.artifact.synthetic.images.isfinite().all()
    assert 0 <= outcome.accuracy <= 1
