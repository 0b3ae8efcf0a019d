"""What a term of pre-trained models adds: runs with and without it, from the same seeds, judged by the same networks.

A study changes one thing about the term's teachers. Every run is an ordinary one, and is gone on with; what several
studies have in common, runs and teachers, is made once.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import paired
from benchmarks.budget import Clock, Lines
from benchmarks.outcome import device_kind
from datadistill.config import RunConfig, load_recipe
from datadistill.core.errors import DatadistillError, UsageError
from datadistill.core.structure import unstructure
from datadistill.evaluate.protocol import Evaluation
from datadistill.runtime.allocator import keep_freed_memory
from datadistill.runtime.atomic import content_key, write_json
from datadistill.runtime.records import Provenance, load_record
from datadistill.runtime.rundir import RunDir
from datadistill.stages import Session, open_run, plan_distill, run_distill, run_evaluate, run_experts

Facts = dict[str, Any]
Runs = dict[tuple[str, int], RunDir]
"""The runs of a study, by value and seed."""

STUDIES = ("terms", "models", "architectures", "epoch", "source")
DEFAULTS = (
    "protocols=default,default@cross-architecture",
    "evaluate.random_draws=0",
    "full.networks=0",
    "watch.probe_every=0",
)
"""Settings of all runs, before those of the command: sets are compared with each other, after the last iteration."""

_ALPHAS = {"dc": 1000.0}
_ALPHA = 10.0
"""α where nobody says: the reference's for DC, whose distance begins in the thousands; less for all others."""

_EPOCHS = (1, 2, 5, 10, 50, 150)
_SOURCES = {
    "cifar10": ["target", "cifar100", "svhn", "tiny-imagenet-32"],
    "fashion-mnist": ["target", "mnist"],
}
_ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    try:
        _study(_arguments(arguments))
    except DatadistillError as error:
        print(f"study: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _study(options: argparse.Namespace) -> None:
    clock = Clock(60 * options.minutes)
    reporter = Lines(clock)
    configs = configurations(options.study, options.recipe, tuple(options.set), options.values)
    keep_freed_memory()
    runs: Runs = {}
    for seed in options.seeds:
        for value, config in configs.items():
            run = runs[value, seed] = RunDir(options.out / _folder(options.recipe, config, seed))
            if run.is_done("evaluate") or clock.over():
                continue
            reporter.say(f"{options.study} = {value}, seed {seed}: {run.root}")
            places = {"device": options.device, "data_root": options.data_root, "reporter": reporter}
            _go_on(open_run(run.root, replace(config, seed=seed), resume=True, **places), clock)
    done = {key: run for key, run in runs.items() if run.is_done("evaluate")}
    if done:
        facts = _facts(options, configs, done)
        print(f"\n{paired.table(facts)}\n")
        reporter.say(f"result: {_write(options, facts)}")
    if len(done) < len(runs):
        reporter.say(f"{len(done)} of {len(runs)} runs are done; the same command goes on")


def configurations(
    study: str, recipe: str, settings: tuple[str, ...], values: Sequence[str] = ()
) -> dict[str, RunConfig]:
    """Return the configurations of a study, seed apart, by value; the first one is that without terms.

    Args:
        study: One of :data:`STUDIES`.
        recipe: Name of a recipe, or a TOML file; its terms are those that are studied, if it has any.
        settings: ``key=value`` changes of all runs.
        values: What the study goes through; empty for the usual values.

    Raises:
        UsageError: If a value cannot be used, or there are no usual ones for this data set.
    """
    base = load_recipe(recipe, (*DEFAULTS, *settings))
    about_terms = ("terms.",) if "teachers" in base.method.needs else ("terms.", "teachers.")
    plain = load_recipe(recipe, (*DEFAULTS, *(one for one in settings if not one.startswith(about_terms))))
    found = {paired.WITHOUT: replace(plain, terms={})}
    values = values or _usual_values(study, base)
    for value in values:
        names = (value,) if study == "terms" else tuple(base.terms) or ("cclom" if study == "source" else "clom",)
        alpha = _ALPHAS.get(base.method_name, _ALPHA)
        alphas = [f"terms.{name}.alphas={alpha}" for name in names if name not in base.terms]
        config = load_recipe(recipe, (*DEFAULTS, *settings, *alphas, *_changes(study, value, values)))
        found[value] = replace(config, terms={name: config.terms[name] for name in names})
    return found


def _usual_values(study: str, config: RunConfig) -> list[str]:
    last = config.teachers.training.epochs_run
    if study == "source" and config.dataset not in _SOURCES:
        raise UsageError(f"source: no sources are known for '{config.dataset}'; name some: --values target NAME …")
    own, others = config.network, ("alexnet", "vgg-11", "resnet-18")
    return {
        "terms": ["clom", "cclom"],
        "models": ["1", "2", "5", "10"],
        "architectures": [",".join((own, *others[:count])) for count in range(len(others) + 1)],
        "epoch": [str(epoch) for epoch in (*(one for one in _EPOCHS if one < last), last)],
        "source": _SOURCES.get(config.dataset, []),
    }[study]


def _changes(study: str, value: str, values: Sequence[str]) -> tuple[str, ...]:
    """Return the settings by which one run of a study differs from the others."""
    match study:
        case "models":
            return (f"teachers.count={value}",)
        case "architectures":
            return (f"teachers.networks={value}",)
        case "epoch":  # all are kept of the same teachers
            kept = ",".join(sorted(values, key=lambda text: (len(text), text)))
            return (f"teachers.snapshots={kept}", f"teachers.at_epoch={value}")
        case "source":
            return (f"teachers.dataset={'' if value == 'target' else value}",)
    return ()


def _folder(recipe: str, config: RunConfig, seed: int) -> str:
    terms = "-".join(config.terms) or "plain"
    return f"{Path(recipe).stem}--{terms}--{content_key(unstructure(config))[:8]}--seed{seed}"


def _go_on(session: Session, clock: Clock) -> None:
    """Do what there is time for; a set is judged when it is finished, and then to the end."""
    run = session.run
    if not run.is_done("distill"):
        plan_distill(session)
        run_experts(session, stop=clock.over)
        if run.is_done("experts"):
            run_distill(session, clock.over)
    if run.is_done("distill") and not clock.over():
        run_evaluate(session)


def _facts(options: argparse.Namespace, configs: dict[str, RunConfig], done: Runs) -> Facts:
    """Return everything there is to say about the runs that are done."""
    first, last = next(iter(configs.values())), load_record(Provenance, next(reversed(done.values())).provenance)
    judged: paired.Judged = {}
    for (value, seed), run in done.items():
        records = (load_record(Evaluation, run.evaluation(name)) for name in first.protocols)
        scores = {record.name: record.results["synthetic"].accuracies[0] for record in records}
        judged.setdefault(value, {})[seed] = scores
    return {
        "schema_version": 1,
        "study": options.study,
        "recipe": Path(options.recipe).stem,
        "settings": [setting for setting in options.set if not setting.startswith("store=")],  # a path of one machine
        "values": list(configs)[1:],
        "terms": {value: unstructure(config.terms) for value, config in configs.items() if config.terms},
        "seeds": {value: sorted(seed for other, seed in done if other == value) for value in configs},
        "seconds": {value: _seconds([run for (other, _), run in done.items() if other == value]) for value in configs},
        "iterations": first.iterations,
        "hardware": last.hardware,
        "versions": last.versions,
        "commits": sorted({str(load_record(Provenance, run.provenance).commit) for run in done.values()}),
        "accuracies": judged,
        "differences": paired.differences(judged),
    }


def _seconds(runs: Sequence[RunDir]) -> float:
    return round(sum(stage.seconds for run in runs for stage in run.status().stages.values()), 3)


def _write(options: argparse.Namespace, facts: Facts) -> Path:
    """Write the file of a study, all of it or nothing, and return its path."""
    chosen = [facts["settings"], options.values] if facts["settings"] or options.values else []
    changed = f"--{content_key(chosen)[:6]}" if chosen else ""
    name = f"{facts['study']}--{facts['recipe']}{changed}--{device_kind(facts['hardware'])}.json"
    write_json(options.results / name, facts)
    return Path(options.results / name)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/study.py", description=__doc__)
    parser.add_argument("study", choices=STUDIES, help="what changes: see docs/studies.md")
    parser.add_argument("--recipe", default="dm_fashion_mnist_short", help="name of a recipe, or a .toml file")
    parser.add_argument("--values", nargs="+", default=[], metavar="VALUE", help="what the study goes through")
    parser.add_argument("--seeds", type=_seeds, default=[0, 1, 2], metavar="0,1,2", help="of the runs")
    parser.add_argument("--minutes", type=float, default=math.inf, help="budget of this call; default: to the end")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting of all runs"
    )
    parser.add_argument("--data-root", type=Path, help="where data sets are (default $DATADISTILL_DATA, or ./data)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto; a run that is there keeps its own")
    parser.add_argument("--out", type=Path, default=Path("runs") / "studies", metavar="DIR", help="where the runs are")
    results = _ROOT / "benchmarks" / "results" / "studies"
    parser.add_argument("--results", type=Path, default=results, metavar="DIR", help="where the JSON files are")
    return parser.parse_args(arguments)


def _seeds(text: str) -> list[int]:
    return list(dict.fromkeys(int(word) for word in text.split(",")))
