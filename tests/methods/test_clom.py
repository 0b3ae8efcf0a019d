"""The terms of pre-trained models against the formulas over all pairs, in float64."""

from dataclasses import replace

import pytest
import torch

import tiny
from datadistill.core.errors import UsageError
from datadistill.core.randomness import Randomness
from datadistill.data import fit_preprocess
from datadistill.experts import Teacher, TeacherPool
from datadistill.methods import METHODS, step
from datadistill.methods.base import begin
from datadistill.methods.clom import CCLoM, CLoM
from datadistill.networks import build_network
from reference import pretrained

RNG = Randomness(2)


def teacher(name, seed=0):
    network = build_network(name, tiny.SHAPE, tiny.CLASSES)
    params = network.initial(Randomness(seed).stream(name)).double()
    statistics = network.initial_statistics().double()
    noise = torch.rand(statistics.shape, generator=Randomness(seed).stream("noise"), dtype=torch.float64)
    return Teacher(network, params, statistics + 0.1 * noise)


def problem(*teachers, **options):
    found = tiny.problem(None, augment="none", dtype=torch.float64)
    return replace(found, teachers=TeacherPool(teachers or (teacher("convnet-1-w4"),)), **options)


def ask(term, given, rng=RNG):
    prepared = term.prepare(given, Randomness(0))
    value, gradients = prepared(given.initial_images, given.initial_targets, rng)
    assert set(gradients) == {"images"}
    assert not value.requires_grad
    return value, gradients["images"]


def direct(loss, given, alpha):
    images = given.initial_images.clone().requires_grad_()
    value = alpha * loss(images)
    return value, torch.autograd.grad(value, images)[0]


def same(found, expected):
    assert found[0].item() == pytest.approx(expected[0].item(), rel=1e-10)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("name", ["convnet-1-w4", "convnet-1-w4-batchnorm", "mlp"])
def test_clom_is_the_mean_cross_entropy(name, size):
    given = problem(teacher(name))
    labels = given.initial_targets.argmax(1)
    found = ask(CLoM(alphas=(3.0,), batch_size=size), given)
    same(found, direct(pretrained.clom(given.teachers.teachers[0], labels), given, 3.0))


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("name", ["convnet-1-w4", "convnet-1-w4-batchnorm"])
def test_cclom_is_the_ratio_over_all_pairs(name, size):
    given = problem(teacher(name))
    train, labels = given.data.train, given.initial_targets.argmax(1)
    real = given.preprocess(train.images).double()
    found = ask(CCLoM(alphas=(3.0,), batch_size=size), given)
    loss = pretrained.cclom(given.teachers.teachers[0].features, labels, real, train.labels)
    same(found, direct(loss, given, 3.0))


def test_some_real_images_are_drawn_once():
    given = problem()
    train, labels = given.data.train, given.initial_targets.argmax(1)
    rows = torch.randperm(len(train), generator=Randomness(0).stream("real"))[:9]
    real = given.preprocess(train.images[rows]).double()
    loss = pretrained.cclom(given.teachers.teachers[0].features, labels, real, train.labels[rows])
    same(ask(CCLoM(alphas=(1.0,), batch_real=9), given), direct(loss, given, 1.0))


def test_real_images_of_the_teachers_set_are_seen_in_its_own_space():
    other = tiny.real_data(signal=60, noise=80)
    mine, theirs = fit_preprocess("normalise", tiny.real_data()), fit_preprocess("normalise", other)
    there = replace(teacher("convnet-1-w4"), adapt=lambda x: theirs.from_pixels(mine.to_pixels(x)).double())
    given = problem(there, source=(other, theirs))
    own = other.train
    of_set = direct(
        lambda images: pretrained.cclom(
            lambda x: there.features(x) if x is images else there.network.features(there.params, x, there.statistics),
            given.initial_targets.argmax(1),
            theirs(own.images).double(),
            own.labels,
        )(images),
        given,
        1.0,
    )
    same(ask(CCLoM(alphas=(1.0,), real="source"), given), of_set)


def test_one_teacher_is_drawn_in_every_iteration_and_has_the_alpha_of_its_architecture():
    pool = (teacher("convnet-1-w4", 0), teacher("convnet-1-w4", 1), teacher("mlp"))
    given = problem(*pool)
    labels, alphas = given.initial_targets.argmax(1), (2.0, 2.0, 5.0)
    expected = [
        direct(pretrained.clom(one, labels), given, alpha)[0].item() for one, alpha in zip(pool, alphas, strict=True)
    ]
    found = [ask(CLoM(alphas=(2.0, 5.0)), given, RNG.at(i))[0].item() for i in range(20)]
    for value in found:
        assert min(abs(value - each) for each in expected) < 1e-9
    assert len({round(value, 9) for value in found}) == 3
    assert ask(CLoM(alphas=(2.0, 5.0), asked=3), given)[0].item() == pytest.approx(sum(expected) / 3, rel=1e-12)


def test_what_does_not_fit_is_refused_in_words():
    given = problem(teacher("convnet-1-w4"), teacher("mlp"))
    with pytest.raises(UsageError, match="asked is 3, but there are 2 teachers"):
        CLoM(alphas=(1.0,), asked=3).prepare(given, RNG)
    with pytest.raises(UsageError, match="3 alphas for 2 architectures"):
        CCLoM(alphas=(1.0, 2.0, 3.0)).prepare(given, RNG)
    other = tiny.real_data()
    renamed = replace(other, card=replace(other.card, classes=("a", "b", "c")))
    elsewhere = replace(given, source=(renamed, given.preprocess))
    with pytest.raises(UsageError, match="are not those of 'bars'; take cclom"):
        CLoM(alphas=(1.0,)).prepare(elsewhere, RNG)
    with pytest.raises(UsageError, match="take real = 'target'"):
        CCLoM(alphas=(1.0,), real="source").prepare(elsewhere, RNG)
    CCLoM(alphas=(1.0,)).prepare(elsewhere, RNG)


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (CLoM, {"alphas": ()}),
        (CLoM, {"alphas": (-1.0,)}),
        (CLoM, {"asked": 0}),
        (CLoM, {"batch_size": 0}),
        (CCLoM, {"batch_real": 0}),
    ],
    ids=str,
)
def test_impossible_values_are_refused(cls, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        cls(**{"alphas": (1.0,), **wrong})


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("cls", [CLoM, CCLoM])
def test_attaches_to_every_method(name, cls, store):
    setting = tiny.SETTINGS[name]
    plain = tiny.problem(store)
    network = plain.network
    params = network.initial(Randomness(7).stream("teacher"))
    pool = TeacherPool((Teacher(network, params, network.initial_statistics()),))
    given = replace(plain, teachers=pool)
    given = replace(given, terms={"term": cls(alphas=(10.0,)).prepare(given, Randomness(0))})
    ends = []
    for each in (plain, given):
        state = begin(setting.method, each, Randomness(0))
        metrics = step(setting.method, each, state, Randomness(0).at(1))
        ends.append(state.images.clone())
    assert metrics["term"].isfinite()
    assert ends[1].isfinite().all()
    assert not torch.equal(*ends)
