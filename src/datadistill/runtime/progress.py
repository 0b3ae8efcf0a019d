"""Progress bars with the time left, and a place to say one line; silent when nobody watches."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@runtime_checkable
class Bar(Protocol):
    """One progress bar."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move on by ``steps`` and show ``note`` (a loss, an accuracy) beside the bar."""
        ...


@runtime_checkable
class Reporter(Protocol):
    """Where stages tell a person how far they are."""

    def say(self, line: str) -> None:
        """Show one line."""
        ...

    def bar(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
        """Open a bar of ``total`` steps of which ``done`` are behind us."""
        ...


class Silent:
    """Shows nothing: for the library, tests, workers and ``--quiet``."""

    def say(self, line: str) -> None:
        """Show nothing."""

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Yield a bar that shows nothing."""
        yield _SilentBar()


class _SilentBar:
    def advance(self, steps: int = 1, note: str = "") -> None:
        """Show nothing."""


class Terminal:
    """Shows bars and lines on a terminal; plain lines where there is none."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    def say(self, line: str) -> None:
        """Show one line above the bars."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Yield a bar with steps done, time spent and time left."""
        columns = (
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as progress:
            task = progress.add_task(title, total=total, completed=done, note="")

            class _Bar:
                def advance(self, steps: int = 1, note: str = "") -> None:
                    progress.advance(task, steps)
                    if note:
                        progress.update(task, note=note)

            if not self.console.is_terminal:
                self.say(f"{title}: {total - done} to do")
            yield _Bar()
