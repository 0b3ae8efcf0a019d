"""Float32: the adjoint is as near to float64 as the stored graph; compiled as near as eager."""

import jaxtyping
import pytest
import torch

NAMES = ("images", "targets", "student_lr")


def distance(found, exact):
    """Relative, per kind of gradient."""
    errors = {}
    for name in NAMES:
        mine, right = getattr(found, name).double(), exact[name]
        errors[name] = ((mine - right).norm() / right.norm()).item()
    return errors


@pytest.mark.parametrize("network", ["convnet-2-w8", "convnet-2-w4-batchnorm", "convnet-2-w4-sigmoid"])
def test_both_strategies_are_equally_far_from_float64(case, network):
    adjoint, stored = dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.0)
    for seed in range(6):
        problem = case(network, steps=8, augment="dsa", seed=seed)
        exact, single = problem.reference(), problem.single_precision()
        for name, error in distance(single.ours("adjoint"), exact).items():
            adjoint[name] += error / 6
        for name, error in distance(single.ours("stored"), exact).items():
            stored[name] += error / 6
    for name in NAMES:
        assert stored[name] < 1e-2, "the yardstick itself is off"
        assert adjoint[name] < 3 * stored[name] + 1e-6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch of itself
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch hides it
@pytest.mark.parametrize(
    ("network", "backend", "strategy"),
    [
        ("convnet-1-w4", "aot_eager", "adjoint"),
        ("convnet-1-w4", "inductor", "adjoint"),
        ("convnet-1-w4-batchnorm", "aot_eager", "adjoint"),
        ("convnet-1-w4", "aot_eager", "stored"),
        ("convnet-1-w4", "inductor", "stored"),
    ],
)
def test_compiled_equals_eager(case, agree, network, backend, strategy, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # dynamo cannot trace the checks
    torch._dynamo.reset()
    compile_as_usual = torch.compile
    backends = []

    def compile_with(function, **options):
        backends.append(backend)
        return compile_as_usual(function, backend=backend, **options)

    monkeypatch.setattr(torch, "compile", compile_with)
    problem = case(network, images=5, batch_size=3, augment="dsa", rates=4)  # batches of 3 and of 2
    agree(problem.ours(strategy, compiled=True), problem.reference())
    assert backends == [backend] * (2 if strategy == "adjoint" else 1)
    torch._dynamo.reset()


@pytest.mark.gpu
@pytest.mark.parametrize("network", ["convnet-1-w4", "convnet-1-w4-batchnorm", "mlp"])
def test_captured_equals_eager(case, agree, network):
    problem = case(network, images=5, batch_size=3, augment="dsa", rates=4).on("cuda")  # batches of 3 and of 2
    agree(problem.ours("adjoint", compiled=True), problem.ours("adjoint"))


@pytest.mark.parametrize("strategy", ["adjoint", "stored"])
def test_bfloat16_is_near_and_changes_no_dtype(case, strategy):
    problem = case("convnet-1-w8", images=5, augment="dsa").single_precision()
    found, exact = problem.ours(strategy, bf16=True), problem.reference()
    for name in ("images", "targets", "student_lr", "params", "loss"):
        assert getattr(found, name).dtype == torch.float32
    assert not torch.equal(found.images, problem.ours(strategy).images)
    assert torch.cosine_similarity(found.images.flatten(), exact["images"].flatten(), dim=0) > 0.98
