"""Progress: nothing when silent, plain lines without a terminal, bars with one."""

import io

import pytest
from rich.console import Console

from datadistill.runtime.progress import Reporter, Silent, Terminal


def work(reporter: Reporter) -> None:
    reporter.say("reading [b]CIFAR-10[/b]")
    with reporter.bar("distill", total=5, done=2) as bar:
        bar.advance()
        bar.advance(2, "loss 0.5")


def shown(*, terminal: bool) -> str:
    stream = io.StringIO()
    work(Terminal(Console(file=stream, force_terminal=terminal, width=120)))
    return stream.getvalue()


def test_silent_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    work(Silent())
    assert capfd.readouterr() == ("", "")


def test_without_a_terminal_there_are_plain_lines_and_no_bars() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines[:2] == ["reading [b]CIFAR-10[/b]", "distill: 3 to do"]
    assert [line.split(",")[0] for line in lines[2:]] == ["distill: 3/5", "distill: 5/5"]


def test_a_terminal_shows_the_bar_with_steps_and_note() -> None:
    output = shown(terminal=True)
    assert "reading [b]CIFAR-10[/b]" in output
    assert "5/5" in output
    assert "loss 0.5" in output
    assert "to do" not in output


def test_a_long_line_is_not_broken() -> None:
    stream = io.StringIO()
    Terminal(Console(file=stream, width=20)).say("x" * 100)
    assert stream.getvalue() == "x" * 100 + "\n"


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().say("a line")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "a line\n")


def test_a_bar_closes_when_the_work_raises() -> None:
    reporter = Terminal(Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(RuntimeError, match="stop"), reporter.bar("distill", total=2):
        raise RuntimeError("stop")
    with reporter.bar("again", total=1) as bar:
        bar.advance()
