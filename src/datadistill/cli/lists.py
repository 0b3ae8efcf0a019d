"""``methods``, ``recipes``, ``datasets``, ``networks``: what there is."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from datadistill.cli.flags import Flags
from datadistill.cli.overview import describe
from datadistill.cli.tables import plain_table
from datadistill.config import load_recipe, recipes
from datadistill.core.errors import DataNotFoundError
from datadistill.data import DATASETS, DatasetEntry, default_data_root
from datadistill.methods import PUBLISHED
from datadistill.networks import NETWORKS, build_network
from datadistill.networks.families import NetworkFamily

_UNTRIED = "not run here"
"""Said of what no test distils and evaluates with."""


def methods(*, flags: Flags = Flags()) -> None:
    """List the methods, and those that are switches of another."""
    rows = [(name, entry.summary, entry.paper) for name, entry in sorted(PUBLISHED.items())]
    title = "methods; `datadistill recipes` lists what runs them, `datadistill cite METHOD` prints the reference"
    _show(title, ("method", "what it does", "paper"), rows, flags)


def list_recipes(*, flags: Flags = Flags()) -> None:
    """List the recipes that come with the package."""
    rows = []
    for name, text in recipes().items():
        config = load_recipe(name)
        first = text.splitlines()[0].removeprefix("#").strip()
        rows.append((name, config.method_name, config.dataset, str(config.ipc), first))
    _show("recipes", ("recipe", "method", "data set", "ipc", "about"), rows, flags)


def datasets(source: str | None = None, *, flags: Flags = Flags()) -> None:
    """List the data sets and where they are found, or describe one of your own.

    Args:
        source: A folder of images, an .npz, .parquet or .toml file, or a name: what is in it, what is wrong with it,
            and a sheet of its images (--out: where).
    """
    root = flags.data_root or default_data_root()
    if source is not None:
        describe(source, root, flags)
        return
    rows = [
        (name, entry.summary + ("" if entry.tried else f"; {_UNTRIED}"), _found(entry, root), entry.files)
        for name, entry in DATASETS.items()
    ]
    _show(f"data sets, looked for below {root}", ("data set", "what it is", "found", "files"), rows, flags)


def networks(*, flags: Flags = Flags()) -> None:
    """List the networks, with their parameters for 32 pixels in colour and ten classes."""
    columns = ("network", "upstream", ">parameters", ">smallest", "for", "what it is", "options")
    families = [(name, family.summary, str(family.grammar)) for name, family in NETWORKS.items()]
    rows = [(*row, *about[1:]) for about in families for row in _members(NETWORKS[about[0]])]
    if flags.json:
        _show("networks", columns, rows, flags)
        return
    title = "networks; also an import path (my_pkg.nets:make), torchvision:resnet18, timm:convnext_nano"
    _show(title, columns[:5], [row[:5] for row in rows], flags)
    _show("their options, in any order, and +xavier … for initial weights", ("family", *columns[5:]), families, flags)


def _members(family: NetworkFamily) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield name, upstream's names, parameters, smallest image and use of every network worth a line."""
    for name, member in family.members.items():
        side = max(32, member.smallest)
        count = f"{build_network(name, (3, side, side), 10).parameter_count:,}"
        used = ["evaluation only"] * family.evaluation_only + [_UNTRIED] * (not member.tried)
        yield (
            name,
            member.upstream,
            count + (f" at {side} px" if side > 32 else ""),
            f"{member.smallest} px",
            ", ".join(used),
        )


def _found(entry: DatasetEntry, root: Path) -> str:
    """Say where a data set lies; nothing is read."""
    try:
        return str(entry.locate(root))
    except DataNotFoundError:
        return "no"


def _show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], flags: Flags) -> None:
    if flags.json:
        keys = [column.lstrip(">") for column in columns]
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
        return
    table = plain_table(title, *columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
