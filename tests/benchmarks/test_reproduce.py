"""The reproduction harness: a run inside a budget, gone on with, without the command line's packages."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks import budget, document, outcome, reproduction
from datadistill.stages import open_run
from system.tiny_run import RECIPE, flags

ROOT = Path(__file__).parents[2]
REFUSE = f"""
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("cyclopts", "rich", "tomli_w", "jinja2", "matplotlib"):
            raise ImportError(f"{{name}} is not here")

sys.meta_path.insert(0, Refuse())
sys.argv = ["reproduce.py", *sys.argv[1:]]
runpy.run_path({str(ROOT / "benchmarks" / "reproduce.py")!r}, run_name="__main__")
"""


def words(folder: Path, minutes: float, *more: str) -> list[str]:
    places = ["--out", str(folder / "run"), "--results", str(folder / "results"), "--device", "cpu"]
    return [RECIPE, "--minutes", str(minutes), *flags("threads=1", *more), *places]


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next((folder / "results").glob(f"{RECIPE}--*cpu.json")).read_text())
    return found


def test_it_needs_nothing_of_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", REFUSE, *words(tmp_path, 5)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "result: " in done.stdout
    facts = result(tmp_path)
    assert set(facts["protocols"]["default"]["results"]) >= {"synthetic", "random", "full"}
    assert facts["iterations"] == {"done": 20, "total": 20}
    assert facts["experts"]["count"] == len(facts["experts"]["validation_accuracies"]) == 2
    assert {name: stage["state"] for name, stage in facts["stages"].items()} == {
        "experts": "done",
        "distill": "done",
        "evaluate": "done",
        "report": "pending",
    }
    assert all(facts["stages"][name]["peak_bytes"] > 0 for name in ("experts", "distill", "evaluate"))
    assert facts["calls"][0]["source"]
    assert facts["minutes_used"] >= 0
    assert str(tmp_path) not in json.dumps(facts["plan"])
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["iterations"] == 20


def test_what_there_is_no_time_for_is_left_to_the_next_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reproduction.main(words(tmp_path, 0)) == 0
    said = capsys.readouterr().out
    assert "the experts are not finished" in said
    assert "the same command goes on" in said
    facts = result(tmp_path)
    assert (facts["experts"]["count"], facts["experts"]["wanted"], facts["protocols"]) == (0, 2, {})

    with monkeypatch.context() as patch:
        patch.setattr(budget.Stretches, "__call__", lambda self: True)
        assert reproduction.main(words(tmp_path, 5)) == 0
    early = result(tmp_path)
    assert early["iterations"] == {"done": 10, "total": 20}
    assert early["stages"]["distill"]["state"] == "stopped"
    assert early["protocols"]["default"]["results"]["synthetic"]["description"].endswith("(iteration 10)")

    assert reproduction.main(words(tmp_path, 0)) == 0
    assert "no time is left to distil" in capsys.readouterr().out
    assert result(tmp_path)["protocols"] == early["protocols"]

    assert reproduction.main(words(tmp_path, 5)) == 0
    late = result(tmp_path)
    assert late["iterations"]["done"] == 20
    assert [call["minutes"] for call in late["calls"]] == [0.0, 5.0, 0.0, 5.0]
    assert "the same command goes on" not in capsys.readouterr().out.splitlines()[-1]


def test_other_settings_are_another_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduction.main(words(tmp_path, 0)) == 0
    assert reproduction.main(words(tmp_path, 0, "iterations=30")) == 2
    assert "was started with other settings (iterations was 20, now 30)" in capsys.readouterr().err


def test_the_distillation_ends_before_a_stretch_that_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.budget.time.monotonic", lambda: now[0])
    stop = budget.Stretches(budget.Clock(100.0, begun=0.0), reserve=30.0, asked=0.0)
    asked = []
    for now[0] in (20.0, 40.0, 60.0):
        asked.append(stop())
    assert asked == [False, False, True]  # 60 + 20 would go into the last 30


def test_lines_are_few_and_say_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.budget.time.monotonic", lambda: now[0])
    lines = budget.Lines(budget.Clock(600.0, begun=0.0))
    with lines.bar("distill", 100) as bar:
        for now[0] in range(1, 51):
            bar.advance(1, "loss 1")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 6
    assert said[-1] == "[  0.7 of 10 min] distill: 41 of 100, 59 s left  loss 1"


def test_the_evaluation_needs_no_time_for_a_full_set_that_is_there(tmp_path: Path) -> None:
    assert reproduction.main(words(tmp_path, 5)) == 0
    session = open_run(tmp_path / "run")
    assert budget._full_seconds(session, None) == 0
    assert budget.evaluation_seconds(session) > 0


@pytest.mark.parametrize(
    ("name", "kind"), [("NVIDIA H200", "h200"), ("NVIDIA A100-SXM4-80GB", "a100-sxm4-80gb"), (None, "cpu")]
)
def test_a_device_has_a_short_name(name: str | None, kind: str) -> None:
    assert outcome.device_kind({} if name is None else {"accelerator": name}) == kind


def test_the_peak_is_added_with_sets_to_choose_among() -> None:
    settings = reproduction.with_peak(RECIPE, ("iterations=1234",))
    assert settings == ("iterations=1234", "watch.variant_every=30", "protocols=default,upstream-peak")


def test_both_protocols_are_in_the_result_and_apart_on_the_page(tmp_path: Path) -> None:
    assert reproduction.main([*words(tmp_path, 5), "--peak"]) == 0
    facts = result(tmp_path)
    assert set(facts["protocols"]) == {"default", "upstream-peak"}
    peak = facts["protocols"]["upstream-peak"]["results"]
    assert set(peak) == {"peak", "synthetic"}
    assert peak["peak"]["mean"] >= peak["synthetic"]["mean"]
    honest, apart = document.page([facts], [RECIPE]).split("## Chosen on the test set")
    assert f"| `{RECIPE}`" in honest
    assert f"| `{RECIPE}`" in apart
