"""The training loop against torch.optim.SGD on an ordinary module, in float64."""

from dataclasses import replace

import jaxtyping
import pytest
import torch

from datadistill.augment import build_augment
from datadistill.core.randomness import Randomness
from datadistill.networks import build_network
from datadistill.synthetic.texture import Texture
from datadistill.training.fit import Examples, Fitted, Prescribed, as_they_are, fit
from datadistill.training.schedules import GSAM, Adam, TrainingRecipe
from reference.training import (
    as_module,
    evaluate_synset,
    in_order,
    running_statistics,
    train,
    train_with_adam,
    train_with_gsam,
)

SHAPE, CLASSES = (2, 8, 8), 3


class Recorder:
    """Hands ``fit`` row numbers as images and remembers which rows, after which augmentation, each step saw."""

    def __init__(self, n=10, augment="none", targets=None, dtype=torch.float64):
        generator = torch.Generator().manual_seed(1)
        self.pixels = torch.randn(n, *SHAPE, generator=generator, dtype=dtype)
        self.targets = torch.arange(n) % CLASSES if targets is None else targets
        self.inner = build_augment(augment)
        self.rows, self.batches = [], []

    @property
    def examples(self):
        return Examples(torch.arange(len(self.pixels)), self.targets, self._prepare)

    def _prepare(self, numbers):
        self.rows.append(numbers)
        return self.pixels[numbers]

    @property
    def description(self):
        return self.inner.description

    @property
    def slots(self):
        return self.inner.slots

    @property
    def mixes(self):
        return self.inner.mixes

    def mix(self, targets, draws, size):
        self.mixed = self.inner.mix(targets, draws, size)
        return self.mixed

    def draw(self, generator, *, steps, batch):
        return self.inner.draw(generator, steps=steps, batch=batch)

    def apply(self, images, draws):
        changed = self.inner.apply(images, draws)
        self.batches.append((changed, self.mixed if self.mixes else self.targets[self.rows[-1]]))
        return changed

    def epochs(self, count):
        per_epoch, rest = divmod(len(self.batches), count)
        assert rest == 0
        return [self.batches[e * per_epoch : (e + 1) * per_epoch] for e in range(count)]


def network(name="convnet-1-w4"):
    return build_network(name, SHAPE, CLASSES)


def start(net, dtype=torch.float64):
    return Fitted.start(net, net.initial(torch.Generator().manual_seed(0)).to(dtype))


def run(net, seen, recipe, begin=None):
    """Train; return copies of the state after every epoch."""
    begin = begin or start(net)
    return [copied(state) for state in fit(net, begin, seen.examples, recipe, seen, Randomness(3))]


def copied(state):
    own = {name: getattr(state, name).clone() for name in ("params", "statistics", "velocity", "loss")}
    own["square"] = None if state.square is None else state.square.clone()
    return replace(state, **own)


def equal(one, other):
    names = ("params", "statistics", "velocity", "loss")
    return one.epoch == other.epoch and all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


CASES = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "weight decay": {"weight_decay": 0.05},
    "both": {"momentum": 0.9, "weight_decay": 0.05},
    "drop": {"momentum": 0.9, "schedule": "step"},
    "early drop that forgets": {"momentum": 0.9, "schedule": "step", "decay_at": 0.25, "reset_momentum": True},
    "one epoch more": {"momentum": 0.9, "schedule": "step", "extra_epoch": True, "reset_momentum": True},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@pytest.mark.parametrize(("n", "batch_size"), [(10, 4), (8, 4), (5, 1), (6, 100)])
def test_equals_sgd_on_a_module(options, n, batch_size):
    net, seen = network(), Recorder(n, augment="dsa")
    recipe = TrainingRecipe(epochs=5, batch_size=batch_size, lr=0.1, **options)
    states = run(net, seen, recipe)
    expected = train(
        as_module(net, start(net).params),
        seen.epochs(recipe.epochs_run),
        lr=0.1,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        drop_before=recipe.drop_epoch,
        forget=recipe.reset_momentum,
    )
    assert [state.epoch for state in states] == list(range(1, recipe.epochs_run + 1))
    for state, (params, loss) in zip(states, expected, strict=True):
        torch.testing.assert_close(state.params, params, rtol=1e-12, atol=1e-13)
        assert state.loss.item() == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("epochs", [1, 2, 5, 6, 9])
def test_the_upstream_protocol_epoch_by_epoch(epochs):
    """E + 1 epochs; the step size drops after the epoch of index E // 2 + 1, and the momentum is forgotten."""
    net, seen = network(), Recorder()
    recipe = TrainingRecipe(
        epochs=epochs,
        batch_size=4,
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        reset_momentum=True,
        extra_epoch=True,
    )
    states = run(net, seen, recipe)
    assert len(states) == epochs + 1
    per_epoch = seen.epochs(epochs + 1)
    params, rates = evaluate_synset(as_module(net, start(net).params), per_epoch.__getitem__, epochs=epochs, lr=0.1)
    assert [recipe.lr_at(ep) for ep in range(recipe.epochs_run)] == pytest.approx(rates)
    assert recipe.drop_epoch == epochs // 2 + 2
    torch.testing.assert_close(states[-1].params, params, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("augment", ["mixup", "dsa+cutmix"])
@pytest.mark.parametrize("soft", [False, True])
def test_an_augmentation_that_mixes_mixes_the_targets_too(augment, soft):
    """Of hard ones too, and though the last class has no image."""
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    targets = torch.eye(CLASSES, dtype=torch.float64)[labels].mul(0.8) if soft else labels
    net, seen = network(), Recorder(6, augment, targets)
    state = run(net, seen, TrainingRecipe(epochs=3, batch_size=4, lr=0.1))[-1]
    assert all(shown.shape == (len(images), CLASSES) for images, shown in seen.batches)
    assert any(len(shown.unique()) > 3 for _, shown in seen.batches)
    params, loss = train(as_module(net, start(net).params), seen.epochs(3), lr=0.1)[-1]
    torch.testing.assert_close(state.params, params, rtol=1e-12, atol=1e-13)
    assert state.loss.item() == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.05}])
def test_gsam_equals_its_formula_on_a_module(alpha, options):
    net, seen = network(), Recorder(10, augment="dsa")
    recipe = TrainingRecipe(epochs=4, batch_size=4, lr=0.1, gsam=GSAM(rho=0.5, alpha=alpha), **options)
    states = run(net, seen, recipe)
    module, epochs = as_module(net, start(net).params), seen.epochs(4)
    expected = train_with_gsam(module, epochs, lr=0.1, rho=0.5, alpha=alpha, **options)
    for state, (params, loss) in zip(states, expected, strict=True):
        torch.testing.assert_close(state.params, params, rtol=1e-11, atol=1e-12)
        assert state.loss.item() == pytest.approx(loss, rel=1e-11)
    plain, _ = train(as_module(net, start(net).params), epochs, lr=0.1, **options)[-1]
    assert (plain - states[-1].params).norm() > 1e-3 * plain.norm(), "no different from SGD"


def test_gsam_keeps_the_statistics_of_the_undisturbed_weights():
    net, seen = network("convnet-2-w4-batchnorm"), Recorder(4)
    recipe = TrainingRecipe(epochs=1, batch_size=4, lr=0.1)
    kept = [run(net, seen, replace(recipe, gsam=gsam))[-1].statistics for gsam in (None, GSAM(rho=1.0))]
    assert torch.equal(*kept)


def test_gsam_stands_still_where_the_gradient_vanishes():
    """Not a number would be the quotient of the formula."""
    net, seen = network(), Recorder(6, targets=torch.full((6, CLASSES), 1 / CLASSES, dtype=torch.float64))
    begin = start(net)
    begin.params.zero_()
    state = run(net, seen, TrainingRecipe(epochs=2, lr=0.1, gsam=GSAM()), begin)[-1]
    assert not state.params.any()


class TestAdam:
    @pytest.mark.parametrize("options", [{"momentum": 0.9}, {"momentum": 0.5, "weight_decay": 0.05}, {}])
    def test_equals_that_of_torch(self, options):
        """ε is large, or it would make something of gradients that are rounding errors: of biases before a norm."""
        net, seen = network(), Recorder(10, augment="dsa")
        recipe = TrainingRecipe(epochs=4, batch_size=4, lr=0.01, adam=Adam(decay=0.99, eps=1e-3), **options)
        states = run(net, seen, recipe)
        first, decay = recipe.momentum, recipe.weight_decay
        expected = train_with_adam(
            as_module(net, start(net).params), seen.epochs(4), lr=0.01, betas=(first, 0.99), eps=1e-3, decay=decay
        )
        for state, params in zip(states, expected, strict=True):
            torch.testing.assert_close(state.params, params, rtol=1e-11, atol=1e-12)

    def test_forgets_its_moments_and_their_age_where_the_step_size_drops(self):
        net, seen = network(), Recorder(4)
        drop = {"schedule": "step", "decay_at": 0.5, "reset_momentum": True}
        recipe = TrainingRecipe(epochs=4, batch_size=4, lr=0.01, momentum=0.9, adam=Adam(eps=1e-3), **drop)
        end = run(net, seen, recipe)[-1]
        module = as_module(net, start(net).params)
        for half, lr in ((seen.epochs(4)[:2], 0.01), (seen.epochs(4)[2:], 0.001)):
            *_, params = train_with_adam(module, half, lr=lr, betas=(0.9, 0.999), eps=1e-3)
        torch.testing.assert_close(end.params, params, rtol=1e-11, atol=1e-12)

    def test_sgd_keeps_no_second_moment(self):
        net = network()
        assert run(net, Recorder(4), TrainingRecipe(epochs=1))[-1].square is None

    @pytest.mark.parametrize("wrong", [{"decay": 1.0}, {"eps": 0.0}])
    def test_impossible_values_are_refused(self, wrong):
        with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), eps positive"):
            Adam(**wrong)


class TestPrescribed:
    ROWS = torch.tensor([[3, 1], [0, 2], [3, 5], [4, 4]])
    RATES = (0.3, 0.01, 0.2, 0.05)

    def examples(self, dtype=torch.float64):
        seen = Recorder(6, dtype=dtype)
        return Examples(seen.pixels, seen.targets, prescribed=Prescribed(self.ROWS, self.RATES))

    def test_equals_a_plain_loop_over_its_steps_again_and_again(self):
        net, examples = network(), self.examples()
        recipe = TrainingRecipe(epochs=3, batch_size=5, lr=7.0)  # neither has a say here
        states = list(map(copied, fit(net, start(net), examples, recipe, build_augment("none"), Randomness(3))))
        for repeats, state in enumerate(states, start=1):
            module = as_module(net, start(net).params)
            params = in_order(module, examples.images, examples.targets, self.ROWS, self.RATES, repeats)
            torch.testing.assert_close(state.params, params, rtol=1e-12, atol=1e-13)
        assert not torch.equal(states[0].params, states[1].params)

    def test_every_step_is_augmented_anew_and_batch_norm_follows(self):
        net, augment = network("convnet-1-w4-batchnorm"), build_augment("dsa:color")
        recipe = TrainingRecipe(epochs=2)
        one, again, plain = (
            list(fit(net, start(net), self.examples(), recipe, chosen, Randomness(3)))[-1]
            for chosen in (augment, augment, build_augment("none"))
        )
        assert equal(one, again)
        assert not torch.equal(one.params, plain.params)
        assert not torch.equal(one.statistics, net.initial_statistics().double())


@pytest.mark.parametrize("wrong", [{"rho": 0.0}, {"alpha": -1.0}])
def test_impossible_gsam_is_refused(wrong):
    with pytest.raises(ValueError, match="rho must be positive, alpha not negative"):
        GSAM(**wrong)


def test_soft_targets():
    targets = torch.rand(6, CLASSES, generator=torch.Generator().manual_seed(2), dtype=torch.float64).softmax(1)
    net, seen = network(), Recorder(6, targets=targets)
    state = run(net, seen, TrainingRecipe(epochs=3, batch_size=4, lr=0.1))[-1]
    params, _ = train(as_module(net, start(net).params), seen.epochs(3), lr=0.1)[-1]
    torch.testing.assert_close(state.params, params, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("n", [10, 9])
def test_batch_norm_statistics_equal_those_of_torch(n):
    net, seen = network("convnet-2-w4-batchnorm"), Recorder(n)
    state = run(net, seen, TrainingRecipe(epochs=4, batch_size=4, lr=0.1, momentum=0.9))[-1]
    module = as_module(net, start(net).params)
    train(module, seen.epochs(4), lr=0.1, momentum=0.9)
    torch.testing.assert_close(state.statistics, running_statistics(module), rtol=1e-12, atol=1e-13)
    module.eval()
    ours = net(state.params, seen.pixels, state.statistics)
    torch.testing.assert_close(ours, module(seen.pixels), rtol=1e-11, atol=1e-12)


class TestOrder:
    def test_every_epoch_is_another_permutation_with_the_remainder_last(self):
        seen = Recorder(10)
        run(network(), seen, TrainingRecipe(epochs=40, batch_size=4))
        assert [len(rows) for rows in seen.rows] == [4, 4, 2] * 40
        epochs = [torch.cat(seen.rows[e : e + 3]).tolist() for e in range(0, 120, 3)]
        assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 40

    def test_every_step_is_augmented_anew(self):
        seen = Recorder(4, augment="dsa:color")
        run(network(), seen, TrainingRecipe(epochs=70, batch_size=4))
        means = [images.mean().item() for images, _ in seen.batches]
        assert len(set(means)) == 70

    def test_depends_on_the_randomness_only(self):
        net, recipe = network(), TrainingRecipe(epochs=2, batch_size=4)
        first, again = (run(net, Recorder(augment="dsa"), recipe)[-1] for _ in range(2))
        assert equal(first, again)
        seen = Recorder(augment="dsa")
        (*_, other) = fit(net, start(net), seen.examples, recipe, seen, Randomness(4))
        assert not torch.equal(other.params, first.params)


@pytest.mark.parametrize("adam", [None, Adam()])
@pytest.mark.parametrize("name", ["convnet-1-w4", "convnet-1-w4-batchnorm"])
def test_going_on_from_any_epoch_is_bit_identical(name, adam):
    """Twenty-one epochs of three steps are drawn at once: epoch 21 starts a new chunk."""
    net = network(name)
    recipe = TrainingRecipe(
        epochs=24, batch_size=4, lr=0.1, momentum=0.9, schedule="step", decay_at=0.3, reset_momentum=True, adam=adam
    )
    whole = run(net, Recorder(augment="dsa"), recipe)
    for done in (1, 6, 7, 8, 20, 21, 22):
        rest = run(net, Recorder(augment="dsa"), recipe, begin=copied(whole[done - 1]))
        assert [state.epoch for state in rest] == list(range(done + 1, 25))
        assert all(equal(*pair) for pair in zip(rest, whole[done:], strict=True)), done


def test_a_finished_training_has_nothing_left_to_do():
    net, recipe = network(), TrainingRecipe(epochs=2, batch_size=4)
    assert run(net, Recorder(), recipe, begin=run(net, Recorder(), recipe)[-1]) == []


def test_start_copies_the_parameters_and_keeps_the_dtype():
    net = network("convnet-1-w4-batchnorm")
    params = net.initial(torch.Generator().manual_seed(0)).double()
    before = params.clone()
    end = run(net, Recorder(), TrainingRecipe(epochs=1), begin=Fitted.start(net, params))[-1]
    assert torch.equal(params, before)
    assert not torch.equal(end.params, before)
    assert {t.dtype for t in (end.params, end.statistics, end.velocity, end.loss)} == {torch.float64}
    assert not end.params.requires_grad


def test_images_are_taken_as_they_are_by_default():
    images = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert Examples(images, torch.arange(4)).prepare is as_they_are
    assert as_they_are(images) is images
    assert len(Examples(images, torch.arange(4))) == 4


@pytest.mark.gpu
def test_nothing_in_the_loop_waits_for_the_device():
    net, seen = network("convnet-1-w4-batchnorm"), Recorder(dtype=torch.float32)
    examples = Examples(seen.pixels.cuda(), seen.targets.cuda())
    begin = Fitted.start(net, net.initial(torch.Generator().manual_seed(0)).cuda())
    recipe = TrainingRecipe(epochs=3, batch_size=4, momentum=0.9, weight_decay=0.1)
    states = fit(net, begin, examples, recipe, build_augment("dsa"), Randomness(0))
    next(states)  # the first epoch draws and copies
    torch.cuda.set_sync_debug_mode("error")
    try:
        list(states)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def trained(network, device="cpu", dtype=torch.float64, gsam=None, **options):
    """Return the end of a training with a smaller last batch, momentum and weight decay."""
    recorder = Recorder(n=11, dtype=dtype)
    start = Fitted.start(network, network.initial(torch.Generator().manual_seed(0)).to(device, dtype))
    start = replace(start, statistics=start.statistics.to(dtype))
    examples = Examples(recorder.pixels.to(device), recorder.targets.to(device))
    recipe = TrainingRecipe(epochs=3, batch_size=4, momentum=0.9, weight_decay=1e-3, gsam=gsam)
    *_, end = fit(network, start, examples, recipe, build_augment("dsa"), Randomness(0), **options)
    return end


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch of itself
@pytest.mark.parametrize("gsam", [None, GSAM(rho=0.5, alpha=0.3)])
@pytest.mark.parametrize("name", ["convnet-2-w8", "convnet-2-w8-batchnorm", "mlp"])
def test_compiled_steps_train_as_eager_ones(name, gsam, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # dynamo cannot trace the checks
    torch._dynamo.reset()
    network = build_network(name, SHAPE, CLASSES)
    eager, compiled = (trained(network, gsam=gsam, compiled=wanted) for wanted in (False, True))
    for one, other in zip(vars(eager).values(), vars(compiled).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    torch._dynamo.reset()


@pytest.mark.gpu
@pytest.mark.parametrize("gsam", [None, GSAM(rho=0.5, alpha=0.3)])
@pytest.mark.parametrize("name", ["convnet-2-w8", "convnet-2-w8-batchnorm", "mlp"])
def test_captured_steps_train_as_eager_ones(name, gsam):
    network = build_network(name, SHAPE, CLASSES)
    eager, captured = (trained(network, "cuda", gsam=gsam, compiled=wanted) for wanted in (False, True))
    for one, other in zip(vars(eager).values(), vars(captured).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("n", "batch_size"), [(5, 2), (4, 100)])
@pytest.mark.parametrize("samples", [1, 3])
def test_of_a_texture_every_step_sees_fresh_windows(samples, n, batch_size):
    texture, seen, net = Texture(samples=samples), Recorder(n), network()
    canvases = torch.arange(n * 2 * 16 * 16, dtype=torch.float64).view(n, 2, 16, 16) / 1000
    seen.rows = [torch.arange(0)] * 100  # targets are compared below
    recipe = TrainingRecipe(epochs=70, batch_size=batch_size, lr=1e-3)
    states = list(fit(net, start(net), Examples(canvases, seen.targets, texture=texture), recipe, seen, Randomness(3)))
    assert states[-1].loss.isfinite()
    windows = [window for images, _ in seen.batches for window in images]
    assert len(windows) == 70 * n * samples
    places = set()
    for window in windows:
        first = int(window[0, 0, 0] * 1000 + 0.5)
        row, down, along = first // 512, first % 256 // 16, first % 16
        assert torch.equal(window, canvases[row].roll((-down, -along), (1, 2))[:, :8, :8])
        places.add((down, along))
    assert len(places) > min(200, len(windows) // 2)
    counts = [len(images) for images, _ in seen.batches[: -(-n // batch_size)]]
    assert sum(counts) == n * samples


def test_windows_keep_the_targets_of_their_canvases():
    """A network that learns which canvas a window is from can only do so if they do."""
    texture, net = Texture(samples=2), build_network("mlp", SHAPE, CLASSES)
    canvases = torch.arange(3.0, dtype=torch.float64).sub(1).view(3, 1, 1, 1).expand(3, 2, 16, 16)
    recipe = TrainingRecipe(epochs=60, batch_size=2, lr=0.3)
    examples = Examples(canvases, torch.tensor([2, 0, 1]), texture=texture)
    *_, last = fit(net, start(net), examples, recipe, build_augment("none"), Randomness(3))
    assert last.loss < 0.1
