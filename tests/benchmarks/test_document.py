"""The page and the recipes say what the JSON files say, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import document, outcome, speed

ROOT = Path(__file__).parents[2]


def facts(recipe: str = "mtt_a", **changes: Any) -> dict[str, Any]:
    def result(mean: float, half: float = 0.01) -> dict[str, Any]:
        return {"mean": mean, "interval": [mean - half, mean + half], "networks": 5, "draws": 1}

    results = {"synthetic": result(0.5), "random": result(0.2), "full": result(0.9, 0.0)}
    return {
        "recipe": recipe,
        "settings": [],
        "hardware": {"processor": "AMD EPYC", "cores": "2"},
        "minutes_used": 12.34,
        "calls": [{"commit": "0123456789", "dirty": True}, {"source": "fedcba9876"}],
        "experts": {"count": 2, "wanted": 2, "epochs": 3},
        "iterations": {"done": 1000, "total": 5000},
        "protocols": {"default": {"results": results}},
        **changes,
    }


def test_the_committed_files_are_what_the_results_make_of_them() -> None:
    for path, text in document.generated(ROOT, ROOT / "benchmarks" / "results").items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python benchmarks/reproduce.py --document"


def test_without_results_the_page_says_what_is_missing() -> None:
    text = document.page([], ["mtt_a", "mtt_b"])
    assert text.endswith("## Not yet run\n\n- `mtt_a`\n- `mtt_b`\n")
    assert "## Results" not in text


def test_a_result_is_a_row() -> None:
    found = facts(published={"accuracy": 0.462, "std": 0.008, "source": "MTT, Table 1"})
    results = found["protocols"]["default"]["results"]
    results["kmeans"] = {**results["random"], "mean": 0.3}
    results["random"]["poisoning"] = {"success": [[0.6], [0.8]], "others": [[0.8], [0.8]]}
    text = document.page([found], ["mtt_a"])
    (row,) = [line for line in text.splitlines() if line.startswith("| `mtt_a`")]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "`mtt_a`",
        "`default`",
        "50.0 (49.0 – 51.0)",
        "–",
        "20.0 (19.0 – 21.0)",
        "90.0",
        "kmeans 30.0<br>random: attack 70.0, other classes 80.0",
        "46.2 ± 0.8 (MTT, Table 1)",
        "2 × 3 epochs",
        "1,000 of 5,000",
        "12.3",
        "AMD EPYC, 2 cores",
        "0123456+, source fedcba9",
    ]
    assert "yet run" not in text


def test_what_was_chosen_on_the_test_set_stands_apart() -> None:
    honest = facts()["protocols"]
    peak = {"mean": 0.6, "interval": [0.59, 0.61], "networks": 5, "draws": 1}
    judged = {**honest, "upstream-peak": {"results": {**honest["default"]["results"], "peak": peak}}}
    results, apart = document.page([facts(protocols=judged)], ["mtt_a"]).split("## Chosen on the test set")
    assert "60.0" not in results
    assert "60.0 (59.0 – 61.0)" in apart
    assert "60.0" not in document.ours([facts(protocols=judged)])


def test_a_page_of_a_method_has_the_rows_of_its_recipes() -> None:
    rows = document.of_method([facts("mtt_a"), facts("att_a"), facts("mtt_b", protocols={})], "mtt")
    assert ("`mtt_a`" in rows, "`att_a`" in rows, "`mtt_b`" in rows) == (True, False, False)
    assert "not yet run" in document.of_method([facts("mtt_a")], "ftd")
    for page, shown in (("dc", True), ("clom", True), ("dm", False)):
        assert ("`dc_cclom_a`" in document.of_method([facts("dc_cclom_a")], page)) is shown


@pytest.mark.parametrize("path", sorted((ROOT / document.METHODS).glob("*.md")), ids=lambda path: path.stem)
def test_every_page_of_a_method_has_its_parts(path: Path) -> None:
    parts = [
        "Idea",
        "Usage",
        "Logged metrics",
        "Implementation details",
        "Differences from the reference implementation",
    ]
    headings = [line[3:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("## ")]
    assert [heading for heading in headings if heading in parts] == parts
    assert "Our results" in headings
    assert path.read_text(encoding="utf-8").count("<!-- results -->") == 1


def test_what_was_begun_is_listed_as_such() -> None:
    text = document.page([facts(experts={"count": 1, "wanted": 2, "epochs": 3}, protocols={})], ["mtt_a"])
    assert text.endswith("- `mtt_a` on AMD EPYC, 2 cores: 1 of 2 experts, 1,000 of 5,000 iterations\n")


def test_a_recipe_gets_the_run_that_came_furthest(tmp_path: Path) -> None:
    recipes = tmp_path / document.RECIPES
    recipes.mkdir(parents=True)
    (recipes / "mtt_a.toml").write_text("# About.\n# Ours:   not yet run\nipc = 1\n")
    (recipes / "mtt_b.toml").write_text("# About.\nipc = 1\n")
    results = tmp_path / "results"
    results.mkdir()
    page = tmp_path / document.DATASETS
    page.parent.mkdir()
    page.write_text("| a | b | c |\n| --- | --- | --- |\n| `mnist` | – | not yet run |\n")
    gpu = facts(iterations={"done": 5000, "total": 5000}, hardware={"accelerator": "NVIDIA H200"})
    changed = facts(iterations={"done": 9000, "total": 9000}, settings=["iterations=9000"])
    for name, content in (("a--cpu", facts()), ("a--h200", gpu), ("a--other", changed)):
        (results / f"{name}.json").write_text(json.dumps(content))
    pages = {"reproducing.md", "speed.md", "studies.md"}
    assert {path.name for path in document.write(tmp_path, results)} == {*pages, "mtt_a.toml"}
    line = "# Ours:   50.0 (49.0 – 51.0) % by 5 networks (default), 5,000 iterations, NVIDIA H200."
    assert (recipes / "mtt_a.toml").read_text().splitlines()[1] == line
    assert document.write(tmp_path, results) == []


def test_every_measured_case_is_a_block_of_the_page_on_speed(tmp_path: Path) -> None:
    committed = sorted((ROOT / "benchmarks" / "results" / "speed").glob("*.json"))
    cases = [result for path in committed for result in json.loads(path.read_text())["results"]]
    text = speed.page(ROOT / "benchmarks" / "results" / "speed")
    assert text.count("```text\n") == len(cases) > 0
    for case in cases:
        assert f"\n{case['benchmark']} {case['name']} · " in text
        assert case["commit"] in text or "flat" in case
    assert "```text" not in speed.page(tmp_path)


def test_no_folder_of_a_machine_is_in_a_result() -> None:
    command = (
        "reproduce.py mtt_a --minutes 5 --data-root '/some where/data' --out=/tmp/x --set store=/tmp/e --results r"
    )
    expected = "reproduce.py mtt_a --minutes 5 --data-root DIR --out=DIR --set store=DIR --results DIR"
    assert outcome.without_folders(command) == expected
    for path in (ROOT / "benchmarks" / "results").rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "command" in content:
            assert outcome.without_folders(content["command"]) == content["command"]


def test_the_table_of_data_sets_says_what_was_reached_on_each() -> None:
    rows = "| `a`, `b` | 10 | old | old |\n| `c` | 5 | old | old |\n"
    text = f"| name | of | sum | reached |\n| --- | --- | --- | --- |\n{rows}\n| `a` | other | x | y |\n"
    found = [
        {
            "dataset": "b-64",
            "network": "convnet-4",
            "training": {"epochs": 20},
            "images": 1500,
            "accuracy": 0.8125,
            "checksum": "0123456789abcdef",
        },
        {"dataset": "d", "network": "mlp", "training": {"epochs": 1}, "images": 9, "accuracy": 0.5, "checksum": ""},
    ]
    made = document.with_full(text, found)
    assert made.splitlines()[2:] == [
        "| `a`, `b` | 10 | `b-64` `0123456789ab` | `b-64` 81.2 % (`convnet-4` at 64×64, 20 epochs on 1,500 images) |",
        "| `c` | 5 | – | not yet run |",
        "",
        "| `a` | other | x | y |",
    ]
    assert document.with_full(made, found) == made
