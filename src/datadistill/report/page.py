"""The page itself: everything put into the template, written in one piece."""

from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from datadistill.evaluate.pools import parted
from datadistill.report import accuracy, curves, facts, peak, wording
from datadistill.report.collect import RunSummary, collect
from datadistill.report.film import film
from datadistill.report.steps import step_by_step
from datadistill.report.tiles import Gallery, gallery, walls
from datadistill.runtime.atomic import write_text
from datadistill.runtime.rundir import RunDir


def write_report(run: RunDir) -> Path:
    """Write ``report/report.html`` for whatever ``run`` holds at this moment, and return its path.

    The page needs no other file and no network. Equal run directories give equal pages.

    Raises:
        RunError: If it is not a run directory.
    """
    write_text(run.report, render(collect(run)))
    return run.report


def render(summary: RunSummary) -> str:
    """Return the page of one run."""
    stages, total, memory = facts.costs(summary)
    artifact = summary.artifact or summary.selected
    tables = [facts.card(artifact)] if artifact is not None else []
    tables += [facts.provenance(summary.provenance)] if summary.provenance is not None else []
    return _template().render(
        run=summary,
        sentence=wording.sentence(summary),
        numbers=accuracy.key_numbers(summary),
        galleries=_galleries(summary),
        walls=walls(artifact) if artifact is not None else [],
        steps=step_by_step(summary),
        film=film(summary),
        charts=[accuracy.chart(one) for one in summary.evaluations if not (one.protocol.peak or parted(one.name)[1])],
        transfers=accuracy.transfers(summary.evaluations),
        peaks=peak.peaks(summary),
        caveat=peak.CAVEAT,
        columns=accuracy.COLUMNS,
        curves=curves.curves(summary.rows),
        drawing=curves,
        stages=stages,
        total=total,
        memory=memory,
        experts=facts.experts(summary),
        origin=tables,
        settings=facts.settings(summary),
        snippet=facts.snippet(summary),
    )


def _galleries(summary: RunSummary) -> list[Gallery]:
    last, selected = summary.artifact, summary.selected
    shown = []
    same = last is not None and selected is not None and last.card.iteration == selected.card.iteration
    if last is not None:
        title = f"Last iterate, iteration {last.card.iteration:,}"
        shown.append(gallery(last, title + (", also the one selected on validation images" if same else "")))
    if selected is not None and not same:
        title = f"Selected on validation images, iteration {selected.card.iteration:,}"
        shown.append(gallery(selected, title))
    return shown


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["tied"] = _tied
    environment.filters["breakable"] = _breakable
    source = resources.files("datadistill.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source)


def _tied(text: str) -> str:
    """Return text whose percent signs do not part from their numbers."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _breakable(name: str) -> Markup:
    """Return a name that may be broken after underscores and slashes."""
    safe = str(escape(name))
    return Markup(safe.replace("_", "_<wbr>").replace("/", "/<wbr>"))
