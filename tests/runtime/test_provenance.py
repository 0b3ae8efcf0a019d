"""Where a result comes from: in a checkout, in an untracked folder, and outside of any."""

import platform
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import torch

from datadistill.runtime import provenance
from datadistill.runtime.provenance import collect_provenance
from datadistill.runtime.records import Provenance, load_record, save_record


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside of any checkout that holds a file with the module's name."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "provenance.py").write_text("1\n")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))
    return folder


def collect() -> Provenance:
    return collect_provenance(3, torch.device("cpu"))


def test_an_installed_package_has_no_commit(package: Path) -> None:
    assert (collect().commit, collect().dirty) == (None, None)


def test_a_checkout_that_does_not_track_the_package_has_no_commit(package: Path) -> None:
    git(package, "init", "--quiet")
    git(package, "commit", "--quiet", "--allow-empty", "--message", "empty")
    assert (collect().commit, collect().dirty) == (None, None)


def test_a_checkout_gives_its_commit_and_whether_it_was_changed(package: Path) -> None:
    git(package, "init", "--quiet")
    git(package, "add", ".")
    git(package, "commit", "--quiet", "--message", "first")
    commit = git(package, "rev-parse", "HEAD")
    assert (collect().commit, collect().dirty) == (commit, False)
    (package / "provenance.py").write_text("2\n")
    assert (collect().commit, collect().dirty) == (commit, True)


def test_a_machine_without_git_has_no_commit(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(package))
    assert (collect().commit, collect().dirty) == (None, None)


def test_the_record_names_command_seed_versions_and_start(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/datadistill", "run", "a recipe"])
    record = collect()
    assert record.command == "datadistill run 'a recipe'"
    assert record.seed == 3
    assert record.versions["python"] == platform.python_version()
    assert record.versions["torch"] == torch.__version__
    assert {"processor", "cores", "memory_gib", "system", "device"} == record.hardware.keys()
    assert datetime.fromisoformat(record.started).tzinfo is not None
    save_record(tmp_path / "p.json", record)
    assert load_record(Provenance, tmp_path / "p.json") == record


@pytest.mark.parametrize("argv", [[""], []], ids=repr)
def test_the_library_calls_itself_python(package: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert collect().command == "python"
