"""Progress bars with the time left, and a place to say one line; silent when nobody watches."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_TENTHS = 10


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


@contextmanager
def follow(bar: Bar, count: Callable[[], int], note: str = "", every: float = 1.0) -> Iterator[None]:
    """Move a bar to wherever ``count`` says, every so many seconds, as long as the context is open.

    For work that is done elsewhere and leaves traces in files.
    """
    ended, shown = threading.Event(), 0

    def look() -> None:
        nonlocal shown
        while True:
            over = ended.wait(every)
            now = count()
            if now > shown:
                bar.advance(now - shown, note)
                shown = now
            if over:
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


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
    """Shows bars on a terminal, and a line for every tenth of the way where there is none."""

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console

        self.console = console or Console(stderr=True)

    def say(self, line: str) -> None:
        """Show one line above the bars."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Yield a bar with steps done, time spent and time left."""
        if not self.console.is_terminal:
            yield _Lines(self, title, total, done)
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console) as progress:
            yield _LiveBar(progress, title, total, done)


class _LiveBar:
    def __init__(self, progress: "Progress", title: str, total: int, done: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total, completed=done, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move the bar."""
        self._progress.advance(self._task, steps)
        if note:
            self._progress.update(self._task, note=note)


class _Lines:
    def __init__(self, terminal: Terminal, title: str, total: int, done: int) -> None:
        self._terminal, self._title, self._total = terminal, title, total
        self._first = self._done = done
        self._begun = time.monotonic()
        terminal.say(f"{title}: {total - done} to do")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say a line when another tenth is behind us."""
        before = self._done * _TENTHS // self._total
        self._done += steps
        if self._done * _TENTHS // self._total > before:
            spent = time.monotonic() - self._begun
            left = spent * (self._total - self._done) / max(1, self._done - self._first)
            where = f"{self._title}: {self._done}/{self._total}, {spent:.0f} s, {left:.0f} s left"
            self._terminal.say(f"{where}  {note}".rstrip())
