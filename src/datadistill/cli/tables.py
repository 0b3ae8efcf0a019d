"""Tables for a person at a terminal."""

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table

from datadistill.evaluate.pools import parted
from datadistill.evaluate.protocol import Result, fair_baseline, gain
from datadistill.pipeline import Outcome
from datadistill.report.accuracy import attack_table, ordered, transfers
from datadistill.report.peak import CAVEAT
from datadistill.stages.forecast import Forecast

_GIB = 2**30


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Print the accuracies of a run, those chosen on the test set in tables apart, and the path of its report."""
    apart = []
    for it in outcome.evaluations.values():
        if parted(it.name)[1] and not it.protocol.peak:
            continue  # in the tables of transfers
        title = f"{it.dataset}, {it.network}, protocol '{it.name}' ({it.split})"
        console.print(_accuracies(title, "accuracy", ordered(it)))
        if (attack := attack_table(it)) is not None:
            first, *others = attack.columns
            heads = (f">{column}" for column in others)
            apart.append(plain_table(f"{title}\nthe attack", first.lower(), *heads, wrapped=True))
            for row in attack.rows:
                apart[-1].add_row(*row)
        elif (line := _above_random(it.results)) is not None:
            console.print(line, highlight=False)
        if "peak" in it.results:
            apart.append(_accuracies(f"{title}\n{CAVEAT}", "best on test", [it.results["peak"]]))
    for transfer in transfers(list(outcome.evaluations.values())):
        title = f"on other networks, protocol '{transfer.name}'"
        apart.append(plain_table(title, transfer.columns[0], *(f">{column}" for column in transfer.columns[1:])))
        for row in transfer.rows:
            apart[-1].add_row(*row)
    for table in apart:
        console.print(table)
    console.print(f"report: {outcome.report}", soft_wrap=True, highlight=False)


def _above_random(results: dict[str, Result]) -> str | None:
    """Return by how much the last iterate is above random real images, in words."""
    random = fair_baseline(results)
    found = gain(results["synthetic"], random) if random is not None and "synthetic" in results else None
    if found is None or random is None:
        return None
    points, half = (100 * value for value in found)
    spread = f" ± {half:.1f}" if half > 0 else ""
    which = random.description.partition(", ")[0]
    return f"last: {points:+.1f}{spread} points from these {which} images, network by network"


def _accuracies(title: str, column: str, results: list[Result]) -> Table:
    table = plain_table(title, "trained on", ">images", f">{column}", ">95 % interval", ">nets", wrapped=True)
    for result in results:
        low, high = result.interval
        shown = f"{100 * low:.1f} – {100 * high:.1f}" if high > low else "–"
        networks = sum(len(draw) for draw in result.accuracies)
        table.add_row(result.description, f"{result.images:,}", f"{100 * result.mean:.1f} %", shown, str(networks))
    return table


def show_forecast(console: Console, recipe: str, expected: Forecast) -> None:
    """Print what a recipe will need."""
    table = plain_table(f"{recipe} on {expected.device}", "stage", ">time", ">memory", ">disk", "what")
    for row in expected.rows:
        disk = f"{row.disk_bytes / 2**20:,.0f} MiB" if row.disk_bytes else ""
        memory = f"{row.memory_bytes / _GIB:.2f} GiB" if row.memory_bytes else ""
        table.add_row(row.stage, duration(row.seconds), memory, disk, row.what)
    table.add_section()
    table.add_row("all", duration(sum(row.seconds for row in expected.rows)), "", "", expected.note)
    console.print(table)


def duration(seconds: float) -> str:
    """Return seconds in words a person reads: ``41 s``, ``12 min``, ``3.4 h``, ``2.1 days``."""
    for limit, unit, size in ((90, "s", 1), (90 * 60, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            value = seconds / size
            return f"{value:.1f} {unit}" if unit == "h" or value < 1 else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"


def plain_table(title: str, *columns: str, wrapped: bool = False) -> Table:
    """Return an empty table; a column that starts with ``>`` is right-aligned and never broken.

    Args:
        title: Above it.
        columns: Headings.
        wrapped: Whether the first column may be broken, to leave room for the others: it is then words.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for place, column in enumerate(columns):  # the first names what one types: never cut short
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        keep = justify == "right" or (place == 0 and not wrapped)
        table.add_column(column.lstrip(">"), justify=justify, no_wrap=keep, overflow="fold")
    return table
