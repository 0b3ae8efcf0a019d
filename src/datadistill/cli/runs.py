"""``run``, ``plan`` and the single stages."""

import json
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from datadistill.cli.flags import Flags
from datadistill.cli.tables import show_forecast, show_outcome
from datadistill.config import RunConfig, load_recipe, to_toml
from datadistill.core.errors import RunError
from datadistill.pipeline import Outcome, finish, run_stages
from datadistill.runtime.allocator import keep_freed_memory
from datadistill.runtime.progress import Reporter, Silent, Terminal
from datadistill.runtime.rundir import RunDir
from datadistill.stages import Session, open_run, run_distill, run_evaluate, run_experts
from datadistill.stages.forecast import forecast

DEFAULT_RECIPE = "mtt_digits_ipc1"
_RUNS = Path("runs")

Target = Annotated[Path, Parameter(help="A run directory, or a recipe to start one from.")]


def run(recipe: str | None = None, *, flags: Flags = Flags()) -> None:
    """Run all stages of a recipe: experts, distillation, evaluation, report.

    Args:
        recipe: Name of a recipe (see `datadistill recipes`), or a .toml file. Default: mtt_digits_ipc1.
    """
    out = _run_directory(recipe or DEFAULT_RECIPE, flags)
    if flags.resume and RunDir(out).config.exists() and recipe is None and not flags.settings():
        config = None
    else:
        config = load_recipe(recipe or DEFAULT_RECIPE, flags.settings())
    if flags.dry_run:
        print(to_toml(config) if config else RunDir(out).config.read_text(), end="")
        return
    begun = time.perf_counter()
    session = _open(out, config, flags)
    session.reporter.say(f"run directory: {out}")
    outcome = run_stages(session)
    _conclude(outcome, session, flags, time.perf_counter() - begun)


def experts(target: Target, *, flags: Flags = Flags()) -> None:
    """Train the experts of a run, or find them in the store."""
    session = _stage_session(target, flags)
    run_experts(session)
    session.reporter.say(f"experts: {session.plan.store}")


def distill(target: Target, *, flags: Flags = Flags()) -> None:
    """Distil, from the last checkpoint where there is one."""
    session = _stage_session(target, flags)
    run_distill(session)
    session.reporter.say(f"synthetic set: {session.run.synthetic}")


def evaluate(target: Target, *, flags: Flags = Flags()) -> None:
    """Judge the synthetic set of a run against its baselines."""
    session = _stage_session(target, flags)
    begun = time.perf_counter()
    run_evaluate(session)
    _conclude(finish(session), session, flags, time.perf_counter() - begun)


def report(target: Target, *, flags: Flags = Flags()) -> None:
    """Write the report of a run anew."""
    from datadistill.report import write_report

    page = write_report(RunDir(target).require())
    print(json.dumps({"run": str(target), "report": str(page)}) if flags.json else page)


def plan(recipe: str | None = None, *, flags: Flags = Flags()) -> None:
    """Show memory, disk and time of a recipe on this machine, before anything starts.

    Args:
        recipe: Name of a recipe, or a .toml file. Default: mtt_digits_ipc1.
    """
    keep_freed_memory()
    config = load_recipe(recipe or DEFAULT_RECIPE, flags.settings())
    expected = forecast(config, device=flags.device, data_root=flags.data_root, memory_limit=flags.memory_bytes())
    if flags.json:
        print(json.dumps(expected.as_dict()))
    else:
        show_forecast(Console(), recipe or DEFAULT_RECIPE, expected)


def _stage_session(target: Path, flags: Flags) -> Session:
    """Open the run at ``target``, or start one from a recipe of that name."""
    if RunDir(target).config.exists():
        if flags.settings():
            raise RunError(f"{target}: a run's configuration is never edited; --set starts a new run from a recipe")
        return _open(target, None, flags)
    if target.is_dir():
        RunDir(target).require()
    return open_from_recipe(str(target), flags)


def open_from_recipe(recipe: str, flags: Flags) -> Session:
    """Start a run from a recipe."""
    return _open(_run_directory(recipe, flags), load_recipe(recipe, flags.settings()), flags)


def _open(out: Path, config: RunConfig | None, flags: Flags) -> Session:
    keep_freed_memory()
    return open_run(
        out,
        config,
        resume=flags.resume,
        device=flags.device,
        data_root=flags.data_root,
        memory_limit=flags.memory_bytes(),
        reporter=_reporter(flags),
    )


def _reporter(flags: Flags) -> Reporter:
    return Silent() if flags.quiet else Terminal()


def _run_directory(recipe: str, flags: Flags) -> Path:
    """Return ``--out``, or a name below ``runs``: the latest of this recipe to resume, else the next free one."""
    if flags.out is not None:
        return flags.out
    name = Path(recipe).stem
    first = _RUNS / name
    number = 2
    latest = first
    while (candidate := _RUNS / f"{name}-{number}").exists():
        latest, number = candidate, number + 1
    if flags.resume or not first.exists():
        return latest
    return candidate


def _conclude(outcome: Outcome, session: Session, flags: Flags, seconds: float) -> None:
    if not flags.quiet:
        show_outcome(Console(), outcome)
    if not flags.json:
        return
    results = next(iter(outcome.evaluations.values())).results
    print(
        json.dumps(
            {
                "run": str(outcome.run.root),
                "method": session.config.method_name,
                "dataset": session.config.dataset,
                "ipc": session.config.ipc,
                **{name: round(result.mean, 6) for name, result in results.items()},
                "intervals": {name: [round(end, 6) for end in result.interval] for name, result in results.items()},
                "report": str(outcome.report),
                "seconds": round(seconds, 3),
            }
        )
    )
