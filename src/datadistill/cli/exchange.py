"""``export``, ``import`` and ``cite``."""

import json
from pathlib import Path

from datadistill.cli.flags import Flags
from datadistill.cli.runs import open_from_recipe, reporter, run_directory, say
from datadistill.config import load_recipe, to_toml
from datadistill.core.errors import UsageError
from datadistill.core.registry import find
from datadistill.interop import buffer_files, export_set
from datadistill.methods import PUBLISHED
from datadistill.runtime.rundir import RunDir
from datadistill.stages import import_experts, run_import
from datadistill.stages.imported import IMPORTED
from datadistill.stages.session import read_config
from datadistill.synthetic.artifact import load_artifact


def export(source: Path, destination: Path, *, flags: Flags = Flags()) -> None:
    """Write a synthetic set in another format: x.npz, x.pt, or a folder of PNG files.

    Args:
        source: A run directory, or a folder with card.json.
        destination: Decides the format by its ending.
    """
    line = export_set(load_artifact(_artifact_folder(source)), destination)
    say(flags, line, destination=str(destination))


def import_(source: Path, recipe: str | None = None, *, flags: Flags = Flags()) -> None:
    """Make a run from a synthetic set made elsewhere, or bring experts trained elsewhere into the store.

    Args:
        source: A set: .npz, `images_*.pt`, `res_*.pt` or our own .pt. Experts: `replay_buffer_*.pt`, or their folder.
        recipe: Needed: it says what the files do not, which is data set, pixel space (whitened or not) and network; for
            a set protocols as well. --set changes it. The last line that is printed says how a run uses experts.
    """
    if recipe is None:
        raise UsageError(
            f"{source}: name a recipe after it, for data set, pixel space (whitened or not) and network are not in "
            "the files; change it with --set dataset=… --set preprocess=… --set network=…"
        )
    if flags.dry_run:
        print(to_toml(load_recipe(recipe, flags.settings())), end="")
        return
    if files := buffer_files(source):
        _import_experts(files, recipe, flags)
        return
    session = open_from_recipe(recipe, flags)
    run_import(session, source)
    say(flags, f"imported: {session.run.root}", run=str(session.run.root))


def _import_experts(files: list[Path], recipe: str, flags: Flags) -> None:
    config, run = load_recipe(recipe, flags.settings()), run_directory(recipe, flags)
    found = import_experts(files, config, run, device=flags.device, data_root=flags.data_root, reporter=reporter(flags))
    known = found.recipe
    facts = f"{found.count} experts of {found.epochs} epochs, {known.network} on {known.dataset}, {config.preprocess}"
    trained = "".join(f" --set experts.{key}=" for key in config.experts.trained_only)
    use = f"--set experts.imported={found.folder.name} --set experts.count={found.count}{trained}"
    line = f"imported: {facts}\nuse them: {use}"
    say(flags, line, experts=str(found.folder), imported=found.folder.name, count=str(found.count))


def cite(source: str, *, flags: Flags = Flags()) -> None:
    """Print the BibTeX entry of a method, or of those that a run used.

    Args:
        source: Name of a method, or a run directory.
    """
    folder = Path(source)
    name, *others = _used(folder) if folder.is_dir() else [source]
    entries = [find(PUBLISHED, used, "method").bibtex for used in (name, *others)]
    bibtex = "\n\n".join(dict.fromkeys(entries))
    print(json.dumps({"method": name, "bibtex": bibtex}) if flags.json else bibtex)


def _used(folder: Path) -> list[str]:
    """Return the method that made a set, and what else it used that has a paper of its own."""
    card = load_artifact(_artifact_folder(folder)).card
    if card.method.startswith(IMPORTED):
        raise UsageError(f"{folder}: the set was {card.method}; cite what made it")
    run, switches, others = RunDir(folder), card.hyper_parameters, []
    config = read_config(run) if run.config.exists() else None
    if config is not None and config.experts.gsam is not None:
        others.append("ftd")
    if switches.get("rule", "exact") != "exact" or switches.get("labels", "hard") == "teacher":
        others.append("tesla")
    if card.method == "dc" and card.augment != "none":
        others.append("dsa")
    return [card.method, *others, *(config.terms if config is not None else ())]


def _artifact_folder(source: Path) -> Path:
    return source if (source / "card.json").exists() else RunDir(source).require().synthetic
