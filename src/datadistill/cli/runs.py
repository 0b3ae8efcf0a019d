"""``run``, ``plan`` and the single stages."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from datadistill.cli.flags import Flags
from datadistill.cli.tables import show_forecast, show_outcome
from datadistill.config import RunConfig, load_recipe, recipes, to_toml
from datadistill.core.errors import RunError, nearest
from datadistill.data import default_data_root
from datadistill.evaluate.pools import parted
from datadistill.pipeline import Outcome, finish, run_stages
from datadistill.runtime.accelerators import read_accelerator
from datadistill.runtime.allocator import keep_freed_memory
from datadistill.runtime.progress import Reporter, Silent, Terminal
from datadistill.runtime.rundir import RunDir
from datadistill.stages import Session, open_run, run_distill, run_evaluate, run_experts
from datadistill.stages.forecast import forecast
from datadistill.stages.forecast_gpu import forecast_gpu
from datadistill.stages.session import read_config

DEFAULT_RECIPE = "mtt_digits_ipc1"
NEVER_EDITED = "a run's configuration is never edited; --set starts a new run from a recipe"
_RUNS = Path("runs")

Target = Annotated[Path, Parameter(help="A run directory, or a recipe to start one from.")]


def run(recipe: str | None = None, *, flags: Flags = Flags()) -> None:
    """Run all stages of a recipe: experts, distillation, evaluation, report.

    Args:
        recipe: Name of a recipe (see `datadistill recipes`), a .toml file of your own (--dry-run prints one), or with
            --resume a run directory. Default: mtt_digits_ipc1.
    """
    if recipe is not None and flags.out is None and RunDir(Path(recipe)).config.exists():
        if not flags.resume:
            raise RunError(f"{recipe}: is there already; go on with --resume")
        if flags.settings():
            raise RunError(f"{recipe}: {NEVER_EDITED}")
        flags, recipe = replace(flags, out=Path(recipe)), None
    out = run_directory(recipe or DEFAULT_RECIPE, flags)
    named = recipe is None or (flags.out is None and recipe in recipes())
    if flags.resume and RunDir(out).config.exists() and named and not flags.settings():
        config = None  # that of the run, whatever was --set when it was started
    else:
        config = _load(recipe or DEFAULT_RECIPE, flags, out)
    if flags.dry_run:
        _show_config(out, config)
        return
    begun = time.perf_counter()
    session = _open(out, config, flags)
    session.reporter.say(f"run directory: {out}")
    outcome = run_stages(session)
    _conclude(outcome, session, flags, time.perf_counter() - begun)


def experts(target: Target, *, flags: Flags = Flags()) -> None:
    """Train the experts of a run, or find them in the store."""
    if (session := _stage_session(target, flags)) is not None:
        run_experts(session)
        _tell(session, flags, experts=session.plan.store)


def distill(target: Target, *, flags: Flags = Flags()) -> None:
    """Distil, from the last checkpoint where there is one."""
    if (session := _stage_session(target, flags)) is not None:
        run_distill(session)
        _tell(session, flags, synthetic=str(session.run.synthetic))


def evaluate(target: Target, *, flags: Flags = Flags()) -> None:
    """Judge the synthetic set of a run against its baselines.

    Args:
        target: A run directory, or a recipe to start one from. A run is judged under other protocols, too, or with
            other networks: `--set protocols=default@cross-architecture`.
    """
    protocols = None
    if RunDir(target).config.exists() and flags.settings():
        protocols, flags = other_protocols(target, flags.settings()), replace(flags, set=())
    if (session := _stage_session(target, flags)) is not None:
        begun = time.perf_counter()
        run_evaluate(session, protocols)
        _conclude(finish(session), session, flags, time.perf_counter() - begun)


def report(target: Target, *, flags: Flags = Flags()) -> None:
    """Write the report of a run anew."""
    from datadistill.report import write_report

    page = write_report(RunDir(target).require())
    say(flags, str(page), run=str(target), report=str(page))


def plan(recipe: str | None = None, *, gpu: str | None = None, flags: Flags = Flags()) -> None:
    """Show memory, disk and time of a recipe on this machine, or on a GPU that is not here.

    Args:
        recipe: Name of a recipe, or a .toml file; its data set must be there. Default: mtt_digits_ipc1.
        gpu: A card that need not be here, by name (h100, rtx4090 …) or memory (24GiB). Times are then worked out from
            the number of operations; without it they are taken from a few steps on this machine.
    """
    config = _load(recipe or DEFAULT_RECIPE, flags)
    if flags.dry_run:
        print(to_toml(config), end="")
        return
    keep_freed_memory()
    limit, root = flags.memory_bytes(), flags.data_root
    if gpu is not None:
        expected = forecast_gpu(config, read_accelerator(gpu), data_root=root, memory_limit=limit)
    else:
        expected = forecast(config, device=flags.device, data_root=root, memory_limit=limit)
    if flags.json:
        print(json.dumps(expected.as_dict()))
    else:
        show_forecast(Console(), recipe or DEFAULT_RECIPE, expected)


def _stage_session(target: Path, flags: Flags) -> Session | None:
    """Open what a stage works on; with ``--dry-run`` show its configuration instead."""
    out, config = _wanted(target, flags)
    if flags.dry_run:
        _show_config(out, config)
        return None
    return _open(out, config, flags)


def other_protocols(target: Path, settings: tuple[str, ...]) -> tuple[str, ...]:
    """Return the protocols that a run is to be judged under besides its own, with those where they are not done.

    Raises:
        RunError: If anything else is to be changed: the configuration of a run stays what it was.
    """
    stored = read_config(RunDir(target))
    asked = read_config(RunDir(target), settings)
    if replace(asked, protocols=stored.protocols) != stored:
        raise RunError(f"{target}: {NEVER_EDITED}; only `protocols` can be set here")
    own = () if RunDir(target).is_done("evaluate") else stored.protocols
    plain = {name: stored.protocol(name).network or stored.network for name in stored.protocols}
    new = [name for name in asked.protocols if plain.get(parted(name)[0]) != parted(name)[1]]
    return tuple(dict.fromkeys((*own, *new)))


def _wanted(target: Path, flags: Flags) -> tuple[Path, RunConfig | None]:
    """Return the run at ``target``, or where to start one from a recipe of that name, and with what."""
    if RunDir(target).config.exists():
        if flags.settings():
            raise RunError(f"{target}: {NEVER_EDITED}")
        return target, None
    if target.is_dir():
        RunDir(target).require()
    recipe = str(target)
    if not recipe.endswith(".toml") and recipe not in recipes():
        raise RunError(f"{target}: neither a run directory nor a recipe{nearest(recipe, recipes())}")
    out = run_directory(recipe, flags)
    return out, _load(recipe, flags, out)


def open_from_recipe(recipe: str, flags: Flags) -> Session:
    """Start a run from a recipe."""
    out = run_directory(recipe, flags)
    return _open(out, _load(recipe, flags, out), flags)


def _load(recipe: str, flags: Flags, out: Path | None = None) -> RunConfig:
    """Return a recipe; its data set is looked for now, but where a run at ``out`` has a data root of its own."""
    started = out is not None and RunDir(out).plan.exists()
    return load_recipe(recipe, flags.settings(), None if started else flags.data_root or default_data_root())


def _show_config(out: Path, config: RunConfig | None) -> None:
    """Print a configuration: the one given, else that of the run at ``out``."""
    print(to_toml(config or read_config(RunDir(out))), end="")


def say(flags: Flags, line: str, **facts: str) -> None:
    """Print what a command has done: as one JSON object, as a line, or not at all."""
    if flags.json:
        print(json.dumps(facts))
    elif not flags.quiet:
        print(line)


def _tell(session: Session, flags: Flags, **where: str) -> None:
    """Say where the result of a stage is."""
    if flags.json:
        print(json.dumps({"run": str(session.run.root), **where}))
    for name, place in where.items():
        session.reporter.say(f"{name}: {place}")


def _open(out: Path, config: RunConfig | None, flags: Flags) -> Session:
    keep_freed_memory()
    return open_run(
        out,
        config,
        resume=flags.resume,
        device=flags.device,
        data_root=flags.data_root,
        memory_limit=flags.memory_bytes(),
        reporter=reporter(flags),
    )


def reporter(flags: Flags) -> Reporter:
    """Return where progress is shown."""
    return Silent() if flags.quiet else Terminal()


def run_directory(recipe: str, flags: Flags) -> Path:
    """Return ``--out``, or a name below ``runs``: the latest of this recipe to resume, else the next free one."""
    if flags.out is not None:
        return flags.out
    name = Path(recipe).stem
    latest = free = _RUNS / name
    number = 2
    while free.exists():
        latest, free, number = free, _RUNS / f"{name}-{number}", number + 1
    return latest if flags.resume else free


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
                "method": outcome.artifact.card.method,
                "dataset": session.config.dataset,
                "ipc": session.config.ipc,
                **{name: round(result.mean, 6) for name, result in results.items()},
                "intervals": {name: [round(end, 6) for end in result.interval] for name, result in results.items()},
                "report": str(outcome.report),
                "seconds": round(seconds, 3),
            }
        )
    )
