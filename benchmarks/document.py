"""``docs/reproducing.md``, ``# Ours:`` of every recipe, and the accuracies on full data sets, made from JSON files."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import cost, paired, speed
from benchmarks.outcome import device_kind
from datadistill.runtime.atomic import read_json, write_text

Facts = dict[str, Any]
PAGE = Path("docs") / "reproducing.md"
DATASETS = Path("docs") / "datasets.md"
METHODS = Path("docs") / "methods"
RECIPES = Path("src") / "datadistill" / "config" / "recipes"
PEAK = "upstream-peak"
_OURS = re.compile(r"^# Ours: .*$", re.MULTILINE)
_OF_METHOD = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)
_COST_OF_CHUNKS = re.compile(r"(?<=<!-- cost -->\n).*?(?=<!-- end of cost -->)", re.DOTALL)
_SUBJECTS = {"synthetic": "last", "selected": "selected", "random": "random real", "full": "full set"}
_NOT_YET = "not yet run"
_WHOLE = "All results, and how to read and make them: [Reproducing results](../reproducing.md)."

_TEXT = """# Reproducing results

This page is made by `python benchmarks/reproduce.py --document` from the files in `benchmarks/results`; a test holds
the two together. No number on it is typed in.

## How to

```bash
python benchmarks/reproduce.py mtt_digits_ipc1 --minutes 10
```

runs a recipe inside a time budget: experts, distillation, evaluation. It needs one process, the checkout, and the
packages that `pip install -e .` brings, except those of the command line and the report. It needs no network
once the data are there.

- **The budget** ends the distillation at a checkpoint, early enough for the evaluation, whose time is estimated from a
  few timed steps. What there is then is evaluated and written down, with the iteration it has reached.
- **The same command goes on** where the last call stopped, and ends on the CPU in the same bytes as one long call.
  Experts that are not finished are gone on with as well; there is no accuracy before they are.
- `--minutes 0` only evaluates what there is. An evaluation that has begun is not cut short.
- `--set key=value` changes a setting; `--data-root`, `--device` and `--out` are those of `datadistill run`. The run
  directory is an ordinary one: `datadistill report runs/reproduce/RECIPE` draws its page.
- `--peak` adds the protocol `upstream-peak`, which chooses on the test set as most papers do, and keeps about fifty
  sets to choose among.
- The result is `benchmarks/results/RECIPE--DEVICE.json`, with a key of the settings before the device where some were
  changed (elsewhere with `--results DIR`): accuracies, seconds and peak memory of every stage, plan, hardware,
  versions, commit. A call that is killed counts up to the last stage it had finished.
"""
_ABOUT = """Test accuracy in percent, in brackets its 95 % interval. *Last* is the set of the last iteration,
*selected* the best on validation images, *beside it* are other baselines and variants, and of poisoned sets how much of
the attacked class is taken for the target; [Evaluation](evaluation.md) says how they are judged. The paper's number is
the paper's, mostly the best of many tests on the test set: only `upstream-peak` chooses in that way."""
_ABOUT_PEAK = "Chosen on the test set: optimistic, to be compared with published numbers and with nothing else."
_COST = ("experts", "iterations", "minutes", "hardware", "commit")


def write(root: Path, results: Path) -> list[Path]:
    """Write the page and the recipes' lines below ``root``, and return the paths of those that have changed."""
    return [path for path, text in generated(root, results).items() if _changed(path, text)]


def _changed(path: Path, text: str) -> bool:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def generated(root: Path, results: Path) -> dict[Path, str]:
    """Return what the files below ``root`` must hold, by path."""
    found = [read_json(path) for path in sorted(results.glob("[!.]*.json"))]
    recipes = {path: path.read_text(encoding="utf-8") for path in sorted((root / RECIPES).glob("*.toml"))}
    texts = {path: _with_ours(text, ours(_of(found, path.stem))) for path, text in recipes.items()}
    full = [read_json(path) for path in sorted((results / "full").glob("[!.]*.json"))]
    methods = {path: path.read_text(encoding="utf-8") for path in sorted((root / METHODS).glob("*.md"))}
    tables = {
        path: _OF_METHOD.sub(lambda _, of=path.stem: of_method(found, of), text) for path, text in methods.items()
    }
    measured = f"\n{cost.section(results / 'cost')}\n"
    tables = {path: _COST_OF_CHUNKS.sub(lambda _: measured, text) for path, text in tables.items()}
    pages = {
        root / DATASETS: with_full((root / DATASETS).read_text(encoding="utf-8"), full),
        root / PAGE: page(found, [path.stem for path in recipes]),
        root / speed.PAGE: speed.page(results / "speed"),
        root / paired.PAGE: paired.page(results / "studies"),
    }
    return {**pages, **texts, **tables}


def _of(found: Iterable[Facts], recipe: str) -> list[Facts]:
    return [facts for facts in found if facts["recipe"] == recipe]


_RECIPES_OF = {"backprop": re.compile("dd_|rat_bptt_"), "clom": re.compile("[a-z]+_(cclom|clom)_")}
"""Recipes whose names do not begin with the method's."""


def of_method(found: Iterable[Facts], method: str) -> str:
    """Return what a method's page says of our results: the table of its recipes, and where the whole one is.

    A recipe with a term, ``dc_cclom_…``, is one of the method and one of the term's page.
    """
    pattern = _RECIPES_OF.get(method, re.compile(f"{method}_"))
    judged = [facts for facts in found if pattern.match(facts["recipe"]) and _honest(facts)]
    return f"\n{_table(judged) if judged else f'Published cells: {_NOT_YET}.'}\n\n{_WHOLE}\n\n"


def _with_ours(text: str, line: str) -> str:
    return _OURS.sub(lambda _: f"# Ours:   {line}", text, count=1)


def with_full(text: str, found: Sequence[Facts]) -> str:
    """Return the page of data sets with the last two columns of its table made from ``found``."""
    known = {facts["dataset"]: facts for facts in found}

    def cell(row: re.Match[str]) -> str:
        names = re.findall(r"`([^`]+)`", row[1].split("|")[1])
        own = [(name, facts) for name, facts in known.items() if re.sub(r"-\d+$", "", name) in names]
        prefixes = [f"`{name}` " * (len(names) > 1) for name, _ in own]
        sums = [f"{prefix}`{facts['checksum'][:12]}`" for prefix, (_, facts) in zip(prefixes, own, strict=True)]
        reached = [f"{prefix}{_full(facts)}" for prefix, (_, facts) in zip(prefixes, own, strict=True)]
        return f"{row[1]}| {'; '.join(sums) or '–'} | {'; '.join(reached) or _NOT_YET} |"

    before, rule, below = text.partition("| --- |")
    table, end, after = below.partition("\n\n")
    return before + rule + re.sub(r"^(\| `.*)\|[^|]*\|[^|]*\|$", cell, table, flags=re.MULTILINE) + end + after


def _full(facts: Facts) -> str:
    epochs, size = facts["training"]["epochs"], re.search(r"-(\d+)$", facts["dataset"])
    at = f" at {size[1]}×{size[1]}" if size else ""
    return f"{100 * facts['accuracy']:.1f} % (`{facts['network']}`{at}, {epochs} epochs on {facts['images']:,} images)"


def ours(found: Sequence[Facts]) -> str:
    """Return the accuracy to quote in a recipe: of the run that came furthest, under its first honest protocol."""
    judged = [facts for facts in found if _honest(facts)]
    if not judged:
        return _NOT_YET
    best = max(
        judged, key=lambda facts: (not facts["settings"], facts["iterations"]["done"], device_kind(facts["hardware"]))
    )
    name = _honest(best)[0]
    result = best["protocols"][name]["results"]["synthetic"]
    changed = f", with {' '.join(best['settings'])}" if best["settings"] else ""
    return (
        f"{_accuracy(result)} % by {result['networks']} networks ({name}), {_iterations(best)} iterations, "
        f"{_hardware(best)}{changed}."
    )


def page(found: Sequence[Facts], recipes: Sequence[str]) -> str:
    """Return the page for these results."""
    parts = [_TEXT]
    judged = [facts for facts in found if _honest(facts)]
    if judged:
        parts += ["\n## Results\n", _ABOUT, "", _table(judged)]
    if peaked := [facts for facts in found if PEAK in facts["protocols"]]:
        parts += ["\n## Chosen on the test set\n", _ABOUT_PEAK, "", _peak_table(peaked)]
    if begun := [facts for facts in found if not facts["protocols"]]:
        parts += ["\n## Begun, not evaluated yet\n", *(f"- {_begun(facts)}" for facts in begun)]
    if missing := [name for name in recipes if not _of(found, name)]:
        parts += [f"\n## {_NOT_YET.capitalize()}\n", *(f"- `{name}`" for name in missing)]
    return "\n".join(parts) + "\n"


def _honest(facts: Facts) -> list[str]:
    return [name for name in facts["protocols"] if name != PEAK]


def _table(judged: Sequence[Facts]) -> str:
    head = ["recipe", "protocol", *_SUBJECTS.values(), "beside it", "the paper's", *_COST]
    rows = [
        [
            _recipe(facts),
            f"`{name}`",
            *(_cell(facts, name, subject) for subject in _SUBJECTS),
            _beside(facts["protocols"][name]["results"]),
            _paper(facts),
            *_cost(facts),
        ]
        for facts in judged
        for name in _honest(facts)
    ]
    return _markdown(head, rows, left=2)


def _peak_table(peaked: Sequence[Facts]) -> str:
    rows = [
        [
            _recipe(facts),
            *(_cell(facts, PEAK, subject) for subject in ("peak", "synthetic")),
            _paper(facts),
            *_cost(facts),
        ]
        for facts in peaked
    ]
    return _markdown(["recipe", "best on the test set", "last", "the paper's", *_COST], rows, left=1)


def _cost(facts: Facts) -> list[str]:
    return [_experts(facts), _iterations(facts), f"{facts['minutes_used']:.1f}", _hardware(facts), _commits(facts)]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _recipe(facts: Facts) -> str:
    changed = "".join(f"<br>`{setting}`" for setting in facts["settings"])
    return f"`{facts['recipe']}`{changed}"


def _cell(facts: Facts, protocol: str, subject: str) -> str:
    result = facts["protocols"][protocol]["results"].get(subject)
    return _accuracy(result) if result else "–"


def _beside(results: dict[str, Facts]) -> str:
    """Return the means of all other sets, and what poisoned ones have done."""
    others = [f"{name} {100 * one['mean']:.1f}" for name, one in results.items() if name not in (*_SUBJECTS, "peak")]
    for name, one in results.items():
        if harm := one.get("poisoning"):
            success, spared = (fmean(map(fmean, harm[figure])) for figure in ("success", "others"))
            others.append(f"{name}: attack {100 * success:.1f}, other classes {100 * spared:.1f}")
    return "<br>".join(others) or "–"


def _accuracy(result: Facts) -> str:
    low, high = result["interval"]
    return f"{100 * result['mean']:.1f}" + (f" ({100 * low:.1f} – {100 * high:.1f})" if high > low else "")


def _paper(facts: Facts) -> str:
    published = facts.get("published")
    if published is None:
        return "–"
    spread = f" ± {100 * published['std']:.1f}" if "std" in published else ""
    return f"{100 * published['accuracy']:.1f}{spread} ({published['source']})"


def _experts(facts: Facts) -> str:
    experts = facts["experts"]
    return f"{experts['count']} × {experts['epochs']} epochs" if experts["wanted"] else "–"


def _iterations(facts: Facts) -> str:
    done, total = facts["iterations"]["done"], facts["iterations"]["total"]
    return f"{done:,}" if done == total else f"{done:,} of {total:,}"


def _hardware(facts: Facts) -> str:
    hardware = facts["hardware"]
    return hardware.get("accelerator") or f"{hardware['processor']}, {hardware['cores']} cores"


def _commits(facts: Facts) -> str:
    """Return what ran: commits, ``+`` for uncommitted changes; a key of the source where there was no checkout."""
    names = [
        call["commit"][:7] + ("+" if call.get("dirty") else "") if "commit" in call else f"source {call['source'][:7]}"
        for call in facts["calls"]
    ]
    return ", ".join(dict.fromkeys(names))


def _begun(facts: Facts) -> str:
    experts = facts["experts"]
    state = f"{experts['count']} of {experts['wanted']} experts, " if experts["wanted"] else ""
    return f"{_recipe(facts)} on {_hardware(facts)}: {state}{_iterations(facts)} iterations"
