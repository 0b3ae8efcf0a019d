"""``methods``, ``recipes``, ``datasets``, ``networks``: what there is."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from datadistill.cli.flags import Flags
from datadistill.cli.overview import describe
from datadistill.cli.tables import plain_table
from datadistill.config import load_recipe, recipes
from datadistill.core.errors import DataNotFoundError
from datadistill.data import DATASETS, DatasetEntry, default_data_root
from datadistill.methods import METHODS
from datadistill.networks import NETWORKS


def methods(*, flags: Flags = Flags()) -> None:
    """List the methods."""
    rows = [(name, entry.summary, entry.paper) for name, entry in sorted(METHODS.items())]
    _show("methods", ("method", "what it does", "paper"), rows, flags)


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
    rows = [(name, entry.summary, _found(entry, root), entry.files) for name, entry in DATASETS.items()]
    _show(f"data sets, looked for below {root}", ("data set", "what it is", "found", "files"), rows, flags)


def networks(*, flags: Flags = Flags()) -> None:
    """List the networks."""
    rows = [(name, family.summary, family.options) for name, family in NETWORKS.items()]
    _show("networks, e.g. convnet-3-w64-batchnorm", ("network", "what it is", "options"), rows, flags)


def _found(entry: DatasetEntry, root: Path) -> str:
    """Say where a data set lies; nothing is read."""
    try:
        return str(entry.locate(root))
    except DataNotFoundError:
        return "no"


def _show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], flags: Flags) -> None:
    if flags.json:
        print(json.dumps([dict(zip(columns, row, strict=True)) for row in rows]))
        return
    table = plain_table(title, *columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
