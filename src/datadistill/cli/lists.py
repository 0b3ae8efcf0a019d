"""``methods``, ``recipes``, ``datasets``, ``networks``: what there is."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from datadistill.cli.flags import Flags
from datadistill.cli.tables import plain_table
from datadistill.config import load_recipe, recipes
from datadistill.core.errors import DataError, DataNotFoundError
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


def datasets(*, flags: Flags = Flags()) -> None:
    """List the data sets, and which of them are found below the data root."""
    root = flags.data_root or default_data_root()
    rows = [(name, entry.summary, _found(entry, root), entry.files) for name, entry in DATASETS.items()]
    _show(f"data sets, looked for below {root}", ("data set", "what it is", "found", "files"), rows, flags)


def networks(*, flags: Flags = Flags()) -> None:
    """List the networks."""
    rows = [(name, family.summary, family.options) for name, family in NETWORKS.items()]
    _show("networks, e.g. convnet-3-w64-batchnorm", ("network", "what it is", "options"), rows, flags)


def _found(entry: DatasetEntry, root: Path) -> str:
    """Say whether a data set can be read, by reading it."""
    try:
        entry.read(root)
    except DataNotFoundError:
        return "no"
    except DataError:
        return "damaged"
    return "yes"


def _show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], flags: Flags) -> None:
    if flags.json:
        print(json.dumps([dict(zip(columns, row, strict=True)) for row in rows]))
        return
    table = plain_table(title, *columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
