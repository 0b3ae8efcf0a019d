"""Differences between runs with and without a term, network by network and seed by seed, as numbers, table and page."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from datadistill.evaluate.pools import parted
from datadistill.evaluate.protocol import half_width
from datadistill.runtime.atomic import read_json

Facts = dict[str, Any]
Judged = dict[str, dict[int, dict[str, tuple[float, ...]]]]
"""Accuracies by value of a study, seed and protocol: one of each network."""

WITHOUT = "without"
ACROSS = "all other networks"
"""The mean over the networks that a set was not distilled with."""

PAGE = Path("docs") / "studies.md"
_TEXT = """# Studies of pre-trained models

This page is made by `python benchmarks/reproduce.py --document` from the files in `benchmarks/results/studies`; a test
holds the two together. No number on it is typed in.

What do [CLoM and CCLoM](methods/clom.md) add to a method, and what does that depend on? A study runs a recipe without
a term and with it, from the same seeds, changes one thing about the teachers, and has the same networks judge all sets.

```bash
python benchmarks/study.py terms --data-root DIR            # no term, CLoM, CCLoM
python benchmarks/study.py models --data-root DIR           # 1, 2, 5, 10 teachers of an architecture
python benchmarks/study.py architectures --data-root DIR    # ConvNet; and AlexNet; and VGG-11; and ResNet-18
python benchmarks/study.py epoch --data-root DIR            # teachers after 1, 2, 5, ... epochs of their training
python benchmarks/study.py source --data-root DIR           # teachers trained on other data, asked by CCLoM
```

These are the studies of the paper's abstract, and the comparison that they rest on, with `dm_fashion_mnist_short` and
seeds 0, 1, 2. On a GPU, as published: `--recipe dm_cifar10_ipc10`, `dsa_cifar10_ipc10`, `dc_cifar10_ipc10`, with
`--set teachers.training.epochs=150` and what else `dm_clom_pool_cifar10_ipc10` says of teachers.

- **Which term**: the recipe's, with its α. Where it has none, CLoM, and CCLoM for `source`, with α = 1000 for DC and 10
  for all other methods; `--set terms.clom.alphas=3` is another α, or another term.
- **Values**: `--values 1 3` instead of the usual ones; `--values convnet-3,vgg11 resnet18` are two pools, and
  `--values target svhn` two sources. Teachers need images of one size: `mnist-rgb-32`, see [Data sets](datasets.md).
- **Settings** of all runs: `--set key=value`. Those of teachers and terms do not touch the runs without a term, so that
  they are made once. Sets are judged after the last iteration, without baselines and probes, by the network of the
  recipe and by AlexNet, VGG-11 and ResNet-18; `--set protocols=default,default@mlp` takes others. On two CPU cores
  most of the time is ResNet-18's: `--set evaluate.epochs=100` halves it.
- **It goes on.** Runs are ordinary run directories below `runs/studies`, with one store of teachers. `--minutes 30` is
  a budget, and the same command goes on; what is being judged is judged to the end. Seeds come one after another, so
  that what is there early is complete.
- **The result** is a table of what there is so far, and `benchmarks/results/studies/STUDY--RECIPE--DEVICE.json`, with a
  key before the device where settings or values were changed.
"""
_ABOUT = """Test accuracy in percent, the mean over seeds and networks, and what the term adds, in points.
Differences are *paired*: without and with a term, a seed has the same first images, the same real batches and networks
while distilling, and evaluation networks that start from the same weights and see the same draws. The interval *over
seeds* takes the mean difference of each seed as one observation: it covers the luck of distilling, is wide with three
seeds, and is the one to quote. That *over networks* takes every evaluation network as one: the luck of training on
these very sets. Neither covers other teachers: all seeds ask the same."""
_HEAD = ("", "judged by", "seeds", "without", "with", "difference", "95 %, over seeds", "95 %, over networks")


def differences(judged: Judged) -> dict[str, dict[str, Facts]]:
    """Return, by value and protocol, what a term adds, over the seeds that are there with and without it.

    Network ``j`` of a seed starts from the same weights and sees the same draws with and without the term, so that
    the luck of its start cancels.
    """
    base = judged.get(WITHOUT, {})
    found: dict[str, dict[str, Facts]] = {}
    for value, runs in judged.items():
        seeds = sorted(runs.keys() & base.keys()) if value != WITHOUT else []
        if seeds:
            pairs = [(_with_mean(base[seed]), _with_mean(runs[seed])) for seed in seeds]
            found[value] = {name: _difference([(one[name], two[name]) for one, two in pairs]) for name in pairs[0][1]}
    return found


def _with_mean(scores: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    """Return the accuracies of one run, with their mean over other networks where there are several."""
    others = [own for name, own in scores.items() if parted(name)[1] is not None]
    return {**scores, ACROSS: tuple(map(fmean, zip(*others, strict=True)))} if len(others) > 1 else scores


def _difference(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Facts:
    """Return mean and intervals of what the second of each pair of runs has more; a pair per seed."""
    of_seeds = [[two - one for one, two in zip(*pair, strict=True)] for pair in pairs]
    every = [difference for of_seed in of_seeds for difference in of_seed]
    facts: Facts = {
        "without": fmean(one for before, _ in pairs for one in before),
        "with": fmean(two for _, after in pairs for two in after),
        "mean": fmean(every),
        "differences": of_seeds,
    }
    for name, units in (("seeds", [fmean(of_seed) for of_seed in of_seeds]), ("networks", every)):
        if len(units) > 1:
            facts[f"half_width_{name}"] = half_width(units)
    return facts


def table(facts: Facts) -> str:
    """Return the differences of a study as a table in Markdown, in percentage points."""
    rows = [(facts["study"], *_HEAD[1:]), ("---",) * 2 + ("---:",) * (len(_HEAD) - 2)]
    for value, by_protocol in facts["differences"].items():
        rows += [(f"`{value}`", name, *_cells(one)) for name, one in by_protocol.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(one: Facts) -> tuple[str, ...]:
    widths = (one.get(f"half_width_{units}") for units in ("seeds", "networks"))
    return (
        str(len(one["differences"])),
        *(f"{100 * one[name]:.1f}" for name in ("without", "with")),
        f"{100 * one['mean']:+.2f}",
        *("–" if width is None else f"± {100 * width:.2f}" for width in widths),
    )


def page(folder: Path) -> str:
    """Return the page for the files in ``folder``."""
    found = [read_json(path) for path in sorted(folder.glob("[!.]*.json"))]
    parts = [_TEXT] + (["## Results\n", _ABOUT, ""] if found else ["No study has been run yet."])
    for facts in found:
        parts += [f"### {facts['study'].capitalize()}: {_described(facts)}\n", table(facts), ""]
    return "\n".join(parts).rstrip() + "\n"


def _described(facts: Facts) -> str:
    hardware = facts["hardware"]
    machine = hardware.get("accelerator") or f"{hardware['processor']}, {hardware['cores']} cores"
    changed = "".join(f", `{setting}`" for setting in facts["settings"])
    minutes = sum(facts["seconds"].values()) / 60
    return f"`{facts['recipe']}`{changed}; {facts['iterations']:,} iterations; {minutes:.0f} minutes on {machine}"
