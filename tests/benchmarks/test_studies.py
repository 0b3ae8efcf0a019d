"""Studies of teachers: what differs between their runs, that these are paired, and the table of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import paired, studies
from datadistill.config import load_recipe
from datadistill.core.errors import UsageError

TINY = (
    "validation=60",
    "network=convnet-1-w8",
    "iterations=4",
    "method.dm.batch_real=8",
    "teachers.training.epochs=1",
    "teachers.training.batch_size=256",
    "evaluate.networks=2",
    "evaluate.epochs=2",
    "protocols=default,default@mlp,default@convnet-1-w4",
    "watch.log_every=2",
    "watch.checkpoint_every=2",
    "watch.frame_every=100",
    "engine.compiled=no",
    "threads=1",
)


def configurations(study: str, *settings: str, recipe: str = "dm_digits", values: tuple[str, ...] = ()) -> Any:
    return studies.configurations(study, recipe, (*TINY, *settings), values)


def test_a_study_changes_one_thing_about_the_teachers() -> None:
    def found(study: str, field: str, *settings: str, **options: Any) -> dict[str, Any]:
        configs = configurations(study, *settings, **options)
        assert not configs.pop("without").terms
        return {value: getattr(config.teachers, field) for value, config in configs.items()}

    assert found("models", "count") == {"1": 1, "2": 2, "5": 5, "10": 10}
    assert found("models", "count", values=("3",)) == {"3": 3}
    pools = found("architectures", "networks")
    assert [len(pool) for pool in pools.values()] == [1, 2, 3, 4]
    assert pools["convnet-1-w8,alexnet"] == ("convnet-1-w8", "alexnet")
    long = "teachers.training.epochs=20"
    assert found("epoch", "at_epoch", long) == {"1": 1, "2": 2, "5": 5, "10": 10, "20": 20}
    kept = found("epoch", "snapshots", long, values=("10", "2"))
    assert kept == {"10": (2, 10), "2": (2, 10)}, "of the same teachers"
    sources = found("source", "dataset", values=("target", "usps-8"), recipe="dm_digits")
    assert sources == {"target": None, "usps-8": "usps-8"}
    with pytest.raises(UsageError, match=r"no sources are known for 'digits'; name some: --values"):
        configurations("source")


def test_terms_are_those_of_the_recipe_else_the_usual_ones() -> None:
    alone = {value: list(config.terms) for value, config in configurations("terms").items()}
    assert alone == {"without": [], "clom": ["clom"], "cclom": ["cclom"]}
    assert configurations("models")["1"].terms["clom"].alphas == (10.0,)
    assert list(configurations("source", values=("target",))["target"].terms) == ["cclom"]
    of_dc = studies.configurations("models", "dc_digits", ())
    assert of_dc["1"].terms["clom"].alphas == (1000.0,)
    own = configurations("models", "terms.cclom.alphas=3", recipe="dm_clom_digits")["2"].terms
    assert {name: term.alphas for name, term in own.items()} == {"clom": (1.0,), "cclom": (3.0,)}


def test_runs_without_a_term_are_the_same_whatever_is_said_of_teachers() -> None:
    plain = configurations("terms")["without"]
    assert plain == configurations("models", "teachers.seed=3", "terms.clom.alphas=2")["without"]
    assert plain != configurations("terms", "iterations=6")["without"]
    assert configurations("terms")["clom"] == configurations("models", "terms.clom.alphas=10")["1"]


def test_a_study_goes_on_and_its_runs_are_paired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = (*TINY, "terms.clom.alphas=0", "terms.cclom.alphas=1000")
    words = ["terms", "--recipe", "dm_digits", "--seeds", "0,1", "--device", "cpu"]
    words += [word for setting in settings for word in ("--set", setting)]
    words += ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert studies.main([*words, "--minutes", "0"]) == 0
    assert "0 of 6 runs are done; the same command goes on" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()

    assert studies.main(words) == 0
    assert "goes on" not in capsys.readouterr().out
    (path,) = (tmp_path / "results").iterdir()
    assert path.name.startswith("terms--dm_digits--")
    facts = json.loads(path.read_text())
    assert facts["seeds"] == {"without": [0, 1], "clom": [0, 1], "cclom": [0, 1]}
    protocols = ["default", "default@mlp", "default@convnet-1-w4", paired.ACROSS]
    for value, nothing in (("clom", True), ("cclom", False)):
        found = facts["differences"][value]
        assert list(found) == protocols
        every = [one for name in protocols for row in found[name]["differences"] for one in row]
        assert len(every) == 4 * 2 * 2
        assert all(one == 0 for one in every) is nothing, "a term of weight 0 changes nothing"
    assert len(list((tmp_path / "runs" / "experts").iterdir())) == 1, "one family of teachers for all"

    before = path.read_bytes()
    assert studies.main([*words, "--minutes", "0"]) == 0
    assert path.read_bytes() == before
    page = paired.page(tmp_path / "results")
    assert "### Terms: `dm_digits`" in page
    assert "| `clom` | default | 2 |" in page
    assert "+0.00 | ± 0.00 | ± 0.00 |" in page


def test_a_bad_value_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--recipe", "dm_digits", "--out", str(tmp_path / "runs"), "--results", str(tmp_path)]
    assert studies.main(["terms", "--values", "clam", *words]) == 2
    assert "did you mean 'clom'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_differences_are_taken_network_by_network_and_seed_by_seed() -> None:
    judged: paired.Judged = {
        "without": {0: {"default": (0.5, 0.6)}, 1: {"default": (0.3, 0.5)}, 2: {"default": (0.1, 0.1)}},
        "clom": {0: {"default": (0.6, 0.8)}, 1: {"default": (0.4, 0.5)}},
    }
    one = paired.differences(judged)["clom"]["default"]
    assert one["differences"] == [pytest.approx([0.1, 0.2]), pytest.approx([0.1, 0.0])]
    assert (one["without"], one["with"], one["mean"]) == pytest.approx((0.475, 0.575, 0.1))
    assert one["half_width_seeds"] == pytest.approx(12.706 * 0.0707107 / 2**0.5, rel=1e-4), "of 0.15 and 0.05"
    assert one["half_width_networks"] == pytest.approx(3.18245 * 0.0816497 / 2, rel=1e-4)
    del judged["clom"][1]
    assert "half_width_seeds" not in paired.differences(judged)["clom"]["default"]
    assert "| – | ±" in paired.table({"study": "terms", "differences": paired.differences(judged)})


def test_other_networks_have_a_mean_of_their_own() -> None:
    judged: paired.Judged = {
        "without": {0: {"default": (0.9,), "default@a": (0.5,), "default@b": (0.3,)}},
        "clom": {0: {"default": (0.9,), "default@a": (0.6,), "default@b": (0.5,)}},
    }
    found = paired.differences(judged)["clom"]
    assert found[paired.ACROSS]["mean"] == pytest.approx(0.15)
    assert found["default"]["mean"] == 0


def test_the_recipe_for_studies_has_what_they_need() -> None:
    config = load_recipe("dm_fashion_mnist_short")
    assert config.teachers.training == config.full.training, "one of them is the network of the full set"
    for study in studies.STUDIES:
        assert len(studies.configurations(study, "dm_fashion_mnist_short", ())) > 2
