"""The allocator is asked where it can be asked, and its absence is no error."""

import ctypes
import subprocess
import sys

import pytest

from datadistill.runtime.allocator import keep_freed_memory


class Library:
    """A C library that answers every ``mallopt`` in the same way."""

    def __init__(self, answer: int) -> None:
        self.answer = answer
        self.asked: list[int] = []

    def mallopt(self, option: int, size: int) -> int:
        self.asked.append(option)
        return self.answer


@pytest.mark.parametrize("answer", [0, 1])
def test_all_options_are_asked_for_and_the_answer_is_passed_on(monkeypatch: pytest.MonkeyPatch, answer: int) -> None:
    library = Library(answer)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert keep_freed_memory() == bool(answer)
    assert len(library.asked) == 3


def test_a_c_library_without_the_call_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("asked"))
    assert keep_freed_memory() is False


def test_a_process_that_was_asked_goes_on_allocating() -> None:
    program = (
        "from datadistill.runtime.allocator import keep_freed_memory\n"
        "assert keep_freed_memory() in (True, False)\n"
        "assert sum(len(bytearray(1 << 22)) for _ in range(20)) == 20 << 22\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
