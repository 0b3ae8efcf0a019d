"""Teachers and terms: trained once, brought to the images of the run, asked in every iteration."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from datadistill.config import from_toml, load_recipe, to_toml
from datadistill.core.errors import ConfigError, RunError, UsageError
from datadistill.methods import terms
from datadistill.runtime.records import ExpertsUsed, TeachersUsed, load_record
from datadistill.stages import Session, open_run, run_distill, run_experts
from datadistill.stages.distill import make_problem
from datadistill.stages.experts import full_task
from datadistill.stages.teachers import _remedy, open_teachers, teacher_tasks, train_teachers
from system.tiny_run import RECIPE, TINY

POOL = ("teachers.training.epochs=2", "teachers.count=2", "teachers.networks=convnet-1-w4,mlp")


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """Cross-entropy of all teachers on the set."""

    weight: float = 1.0
    needs = frozenset({"teachers"})

    def prepare(self, problem, rng):
        pool = problem.require_teachers()

        def term(images, targets, rng):
            leaf = images.detach().requires_grad_()
            loss = self.weight * sum(cross_entropy(teacher(leaf), targets) for teacher in pool.teachers)
            return loss.detach(), {"images": torch.autograd.grad(loss, leaf)[0]}

        return term


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(terms.TERMS, "recognised", terms.TermEntry(Recognised, "", "", ""))


def opened(folder: Path, *settings: str, **kwargs: object) -> Session:
    config = load_recipe(RECIPE, (*TINY, *POOL, *settings))
    return open_run(folder / "run", config, device="cpu", **kwargs)


def test_a_run_with_a_term_trains_the_teachers_and_writes_them_down(tmp_path: Path) -> None:
    session = opened(tmp_path, "terms.recognised.weight=0.5")
    run_experts(session)
    used = load_record(TeachersUsed, session.run.teachers)
    assert sorted(used.pools) == sorted(task.network.name for task in teacher_tasks(session))
    assert all(len(pool.checksums) == 2 for pool in used.pools.values())
    assert load_record(ExpertsUsed, session.run.experts).content_key not in {
        pool.content_key for pool in used.pools.values()
    }
    pool = open_teachers(session)
    assert [teacher.network.name for teacher in pool.teachers] == [
        name for name in (task.network.name for task in teacher_tasks(session)) for _ in range(2)
    ]
    assert len(pool.of(pool.teachers[0].network.name)) == 2
    problem = make_problem(session)
    value, gradients = problem.terms["recognised"](problem.initial_images, problem.initial_targets, session.rng)
    plain = sum(cross_entropy(t(problem.initial_images), problem.initial_targets) for t in pool.teachers)
    assert value.item() == pytest.approx(0.5 * plain.item(), rel=1e-6)
    assert gradients["images"].abs().sum() > 0
    run_distill(session)
    rows = [json.loads(line) for line in session.run.metrics.read_text().splitlines()]
    assert all("recognised" in row for row in rows if "matching_loss" in row)
    card = json.loads((session.run.synthetic / "card.json").read_text())
    assert sorted(card["trained_by"]["teachers"]) == sorted(used.pools)


def test_teachers_with_the_settings_of_the_full_set_are_the_same_networks(tmp_path: Path) -> None:
    config = load_recipe(RECIPE, (*TINY, *POOL, "teachers.networks="))
    config = replace(config, teachers=replace(config.teachers, training=config.full.training))
    session = open_run(tmp_path / "run", config, device="cpu")
    assert teacher_tasks(session)[0].recipe.key == full_task(session, config.network).recipe.key


def test_a_run_with_other_teachers_than_it_started_with_is_refused(tmp_path: Path) -> None:
    session = opened(tmp_path, "terms.recognised.weight=1", "teachers.networks=mlp")
    run_experts(session)
    record = json.loads(session.run.teachers.read_text())
    (pool,) = record["pools"].values()
    pool["checksums"] = dict.fromkeys(pool["checksums"], "another")
    session.run.teachers.write_text(json.dumps(record))
    with pytest.raises(RunError, match="not the networks this run was started with"):
        open_teachers(session)


def test_chosen_epochs_are_kept_with_their_statistics_and_used(tmp_path: Path) -> None:
    settings = ("teachers.networks=convnet-1-w4-batchnorm", "teachers.snapshots=1,2", "terms.recognised.weight=1")
    session = opened(tmp_path, *settings, "teachers.at_epoch=1")
    run_experts(session)
    first = open_teachers(session).teachers[0]
    later = replace(session.config, teachers=replace(session.config.teachers, at_epoch=2))
    other = open_run(tmp_path / "later", later, device="cpu")
    run_experts(other)
    second = open_teachers(other).teachers[0]
    assert teacher_tasks(session)[0].recipe.key == teacher_tasks(other)[0].recipe.key
    assert not torch.equal(first.params, second.params)
    assert not torch.equal(first.statistics, second.statistics)
    whole = replace(session.config, teachers=replace(session.config.teachers, snapshots=(), at_epoch=None))
    last = open_run(tmp_path / "last", whole, device="cpu")
    run_experts(last)
    end = open_teachers(last).teachers[0]
    assert torch.equal(end.params, second.params)
    assert torch.equal(end.statistics, second.statistics)


class TestAnotherSource:
    def source(self, folder: Path, size: int, classes: int) -> str:
        """Write a set of one-coloured images, brighter than the digits, and return its path."""
        labels = np.arange(120) % classes
        images = np.full((120, size, size), 128, dtype=np.uint8) + labels[:, None, None].astype(np.uint8)
        path = folder / "source.npz"
        np.savez(path, x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])
        return str(path)

    def test_teachers_of_another_set_see_images_in_their_own_space(self, tmp_path: Path) -> None:
        path = self.source(tmp_path, 8, 3)
        settings = (f"teachers.dataset={path}", "teachers.networks=mlp", "validation=60")
        session = opened(tmp_path, *settings)
        assert train_teachers(session, lambda: False)
        teacher = open_teachers(session).teachers[0]
        images = session.preprocess(session.data.train.images[:4])
        assert teacher(images).shape == (4, 3)
        theirs = session.teacher_preprocess(session.data.train.images[:4])
        plain = teacher.network(teacher.params, theirs, teacher.statistics)
        assert torch.allclose(teacher(images), plain, atol=1e-5)
        assert not torch.allclose(teacher(images), teacher.network(teacher.params, images, teacher.statistics))

    def test_teachers_that_do_not_fit_the_images_are_refused_before_training(self, tmp_path: Path) -> None:
        path = self.source(tmp_path, 12, 3)
        session = opened(tmp_path, f"teachers.dataset={path}", "teachers.networks=mlp", "terms.recognised.weight=1")
        message = r"teachers: mlp.* \(1x12x12\) does not fit images of 'digits'.*teachers.dataset to images of 1x8x8"
        with pytest.raises(UsageError, match=message):
            run_experts(session)

    @pytest.mark.parametrize(
        ("source", "theirs", "own", "ours", "remedy"),
        [
            ("fashion-mnist", (1, 28, 28), "digits-32", (1, 32, 32), "teachers.dataset = 'fashion-mnist-32'"),
            ("mnist", (1, 28, 28), "svhn", (3, 32, 32), "teachers.dataset = 'mnist-rgb-32'"),
            ("mnist-rgb-16", (3, 16, 16), "tiny-64x32", (3, 64, 32), "teachers.dataset = 'mnist-rgb-64x32'"),
            ("svhn", (3, 32, 32), "fashion-mnist", (1, 28, 28), "dataset = 'fashion-mnist-rgb-32'"),
        ],
    )
    def test_what_would_fit_is_named(
        self, source: str, theirs: tuple[int, int, int], own: str, ours: tuple[int, int, int], remedy: str
    ) -> None:
        assert _remedy(source, theirs, own, ours) == remedy

    def test_a_contrastive_term_is_asked_for_other_classes_and_the_other_term_is_refused(self, tmp_path: Path) -> None:
        pool = (f"teachers.dataset={self.source(tmp_path, 8, 3)}", "teachers.networks=convnet-1-w4,mlp")
        settings = (*pool, "teachers.snapshots=1,2", "teachers.at_epoch=1", "watch.log_every=10")
        session = opened(tmp_path, *settings, "terms.cclom.alphas=1,2", "terms.cclom.asked=2")
        run_experts(session)
        run_distill(session)
        rows = [json.loads(line) for line in session.run.metrics.read_text().splitlines()]
        values = [row["cclom"] for row in rows if "matching_loss" in row]
        assert values
        assert all(0 < value < 3 for value in values), "a share of distances, times (1 + 2) / 2"
        other = opened(tmp_path / "clom", *settings, "terms.clom.alphas=1", f"store={tmp_path / 'experts'}")
        run_experts(other)
        with pytest.raises(UsageError, match=r"take cclom, or leave teachers\.dataset out"):
            make_problem(other)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("teachers.count=0", "count must be at least 1"),
        ("teachers.networks=mlp,mlp", "none of them twice"),
        ("teachers.networks=vgg11,vgg-11", "teachers.networks: vgg-11 is there twice"),
        ("teachers.networks=convnett-1", r"teachers.networks: unknown.*did you mean"),
        ("teachers.snapshots=5,2", r"ascending epochs in 0 to 2"),
        ("teachers.snapshots=1,3", r"ascending epochs in 0 to 2"),
        ("teachers.at_epoch=1", r"one of snapshots, \[2\]"),
        ("teachers.augment=dsaa", "teachers.augment: unknown"),
        ("terms.recognized.weight=1", "unknown term 'recognized'.*did you mean 'recognised'"),
        ("terms.recognised.wait=1", "unknown key 'terms.recognised.wait'|unknown key"),
        ("terms=1", "is a table|unknown key 'terms'"),
    ],
)
def test_bad_settings_are_refused_in_one_line(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(RECIPE, (*TINY, *POOL, setting))


def test_terms_survive_toml() -> None:
    config = load_recipe(RECIPE, (*TINY, *POOL, "terms.recognised.weight=0.25", "teachers.snapshots=1,2"))
    again = from_toml(to_toml(config), source="")
    assert again == config
    assert again.terms == {"recognised": Recognised(weight=0.25)}
    assert again.needs == {"experts", "teachers"}


def test_terms_are_refused_for_canvases() -> None:
    with pytest.raises(ConfigError, match="terms look at whole images"):
        load_recipe(RECIPE, (*TINY, *POOL, "terms.recognised.weight=1", "texture.canvas=2"))
