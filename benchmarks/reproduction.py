"""A recipe inside a time budget, in one process: experts, distillation, evaluation, one JSON file.

Needs neither a network nor what the command line needs. Every call goes on where the last one stopped.
"""

import argparse
import math
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmarks import document, outcome
from benchmarks.budget import Clock, Lines, Stretches, evaluation_seconds
from datadistill.config import load_recipe
from datadistill.core.errors import DatadistillError
from datadistill.core.structure import unstructure
from datadistill.runtime.allocator import keep_freed_memory
from datadistill.runtime.atomic import content_key, read_json, write_json
from datadistill.runtime.provenance import collect_provenance
from datadistill.stages import Session, open_run, plan_distill, run_distill, run_evaluate, run_experts

PEAK = "upstream-peak"
_ROOT = Path(__file__).resolve().parents[1]
_KEPT = 50  # sets, about, that the peak is chosen among


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options = _arguments(arguments)
    try:
        if options.document:
            for path in document.write(_ROOT, options.results):
                print(path)
        else:
            _reproduce(options)
    except DatadistillError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _reproduce(options: argparse.Namespace) -> None:
    clock = Clock(60 * options.minutes)
    settings = tuple(options.set)
    if options.peak:
        settings = with_peak(options.recipe, settings)
    config = load_recipe(options.recipe, settings)
    name = Path(options.recipe).stem
    keep_freed_memory()
    reporter, out = Lines(clock), options.out or Path("runs") / "reproduce" / name
    session = open_run(out, config, resume=True, device=options.device, data_root=options.data_root, reporter=reporter)
    calls = Calls(session, clock, {"recipe": name, "settings": list(settings)})
    try:
        _work(session, clock, calls)
    finally:
        calls.save()
        path = outcome.write(session, options.results)
        reporter.say(f"result: {path}")
    if not (session.run.is_done("distill") and session.run.is_done("evaluate")):
        reporter.say(f"not at the end yet; the same command goes on: {shlex.join(['python', *sys.argv])}")


def _work(session: Session, clock: Clock, calls: "Calls") -> None:
    """Do what there is time for."""
    run, say = session.run, session.reporter.say
    if not run.is_done("distill"):
        plan_distill(session)
    if not run.is_done("experts"):
        run_experts(session, stop=clock.over)
        calls.save()
    if not run.is_done("experts"):
        say("the experts are not finished")
        return
    if not run.is_done("distill"):
        reserve = evaluation_seconds(session)
        say(f"about {reserve:.0f} s are kept for the evaluation")
        begun = (run.checkpoint / "state.safetensors").exists()
        if clock.over(reserve) and (not begun or run.is_done("evaluate")):
            say("no time is left to distil; give more --minutes")
            return
        run_distill(session, Stretches(clock, reserve))
        calls.save()
    if not run.is_done("evaluate"):
        run_evaluate(session)


class Calls:
    """What every call of the harness on one run was and took, in ``reproduce.json`` of the run directory."""

    def __init__(self, session: Session, clock: Clock, about: dict[str, Any]) -> None:
        self.path, self.clock = outcome.calls_path(session.run), clock
        stored = read_json(self.path) if self.path.exists() else {}
        facts = unstructure(collect_provenance(session.config.seed, session.device))
        self.call = {**facts, "source": _source(), "minutes": clock.seconds / 60}
        self.content = {**about, "calls": [*stored.get("calls", []), self.call]}
        self.save()

    def save(self) -> None:
        """Write down the time spent so far: a call that is killed later counts up to here."""
        self.call["seconds"] = round(self.clock.spent, 3)
        write_json(self.path, self.content)


def _source() -> str:
    """Return a key of the package's source, which tells a version where there is no checkout."""
    files = sorted((_ROOT / "src").rglob("*.py"))
    return content_key([[str(path.relative_to(_ROOT)), path.read_text(encoding="utf-8")] for path in files])


def with_peak(recipe: str, settings: tuple[str, ...]) -> tuple[str, ...]:
    """Return settings that add the protocol that chooses on the test set, and sets to choose among."""
    config = load_recipe(recipe, settings)
    if not config.watch.variant_every:
        log = config.watch.log_every
        settings = (*settings, f"watch.variant_every={log * max(1, math.ceil(config.iterations // _KEPT / log))}")
    if PEAK in config.protocols:
        return settings
    return (*settings, f"protocols={','.join((*config.protocols, PEAK))}")


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of minutes")
    return value


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/reproduce.py", description=__doc__)
    parser.add_argument("recipe", nargs="?", help="name of a recipe, or a .toml file")
    parser.add_argument("--minutes", type=_minutes, help="budget of this call; 0 evaluates what there is")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting")
    parser.add_argument("--peak", action="store_true", help=f"judge under '{PEAK}' as well")
    parser.add_argument("--data-root", type=Path, help="where data sets are (default $DATADISTILL_DATA, or ./data)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto; a run that is there keeps its own")
    parser.add_argument("--out", type=Path, metavar="RUNDIR", help="default runs/reproduce/RECIPE")
    parser.add_argument(
        "--results", type=Path, default=_ROOT / "benchmarks" / "results", metavar="DIR", help="where the JSON files are"
    )
    parser.add_argument(
        "--document", action="store_true", help="write docs/reproducing.md from the JSON files, no more"
    )
    options = parser.parse_args(arguments)
    if not options.document and (options.recipe is None or options.minutes is None):
        parser.error("a recipe and --minutes are needed, or --document")
    return options
