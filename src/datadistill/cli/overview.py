"""``datasets SOURCE``: what is in a data set of one's own, and what is wrong with it."""

import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from datadistill.cli.flags import Flags
from datadistill.cli.tables import plain_table
from datadistill.data import load_dataset
from datadistill.data.catalogue import is_named
from datadistill.data.parquet import parquet_files
from datadistill.data.survey import Survey, survey_data, survey_folder
from datadistill.runtime.progress import Reporter, Silent, Terminal
from datadistill.synthetic.pictures import save_grid

_SHOWN = 20


def describe(source: str, root: Path, flags: Flags) -> None:
    """Print what is in a data set, and write a sheet of its images.

    Raises:
        UsageError: If there is no such set, or, unless it is an image folder, it cannot be read.
    """
    reporter: Reporter = Silent() if flags.quiet or flags.json else Terminal()
    places = () if is_named(source, root) else (Path(source).expanduser(), root / source)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is not None and not parquet_files(folder):
        found = survey_folder(folder, reporter)
    else:
        data = load_dataset(source, root, validation=0, reporter=reporter)
        found = survey_data(data, data.card.split)
    sheet = flags.out or Path(f"{found.name}-contact-sheet.png")
    if found.sheet is not None:
        save_grid(sheet, found.sheet.float() / 255, found.columns)
    if flags.json:
        print(json.dumps(_plain(found, sheet)))
    elif not flags.quiet:
        _print(found, sheet)


def _print(found: Survey, sheet: Path) -> None:
    console = Console()
    _say(console, f"{found.name}: {found.kind}")
    table = plain_table("", "class", *(f">{part}" for part in found.counts))
    for name in found.classes[:_SHOWN]:
        table.add_row(name, *(f"{counts[name]:,}" for counts in found.counts.values()))
    if len(found.classes) > _SHOWN:
        table.add_row(f"and {len(found.classes) - _SHOWN:,} more")
    table.add_section()
    totals = [f"{sum(counts.values()):,}" for counts in found.counts.values()]
    table.add_row(f"{len(found.classes):,} classes", *totals)
    console.print(table)
    _say(console, f"sizes: {_shares({f'{height}x{width}': n for (height, width), n in found.sizes.items()})}")
    _say(console, f"channels: {_shares({str(c): n for c, n in found.channels.items()})}")
    for line in found.problems[:_SHOWN]:
        _say(console, f"problem: {line}")
    if len(found.problems) > _SHOWN:
        _say(console, f"and {len(found.problems) - _SHOWN:,} problems more; --json lists all")
    _say(console, "problems: none" if not found.problems else f"problems: {len(found.problems):,}")
    if found.sheet is not None:
        _say(console, f"contact sheet: {sheet}")


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def _shares(counts: Mapping[str, int]) -> str:
    common = sorted(counts.items(), key=lambda entry: -entry[1])
    shown = ", ".join(f"{name} ({count:,})" for name, count in common[:5])
    return f"{shown}, and {len(common) - 5} more" if len(common) > 5 else shown or "none"


def _plain(found: Survey, sheet: Path) -> dict[str, object]:
    return {
        "name": found.name,
        "kind": found.kind,
        "classes": {part: dict(counts) for part, counts in found.counts.items()},
        "sizes": {f"{height}x{width}": count for (height, width), count in found.sizes.items()},
        "channels": {str(channels): count for channels, count in found.channels.items()},
        "problems": found.problems,
        "contact_sheet": str(sheet) if found.sheet is not None else None,
    }
