"""Laws over the source itself: who imports whom, sizes, names, what importing the package does."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "datadistill"
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def run_python(program: str) -> str:
    """Run a program in a fresh process, warnings as errors, and return what it printed."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_bytes()))


def imported(path: Path) -> set[str]:
    """Return the top-level names of all modules that a file imports, anywhere in it."""
    names = [alias.name for node in nodes(path) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes(path) if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_imports_keep_to_the_floors(tmp_path: Path) -> None:
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("import-linter is not installed (extra `dev`)")
    program = "from importlinter.cli import lint_imports_command as lint; lint()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-logo", "--cache-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_outgrows_its_concept() -> None:
    assert not [name for name, path in FILES.items() if len(path.read_text(encoding="utf-8").splitlines()) > 400]


def test_no_file_is_named_after_nothing() -> None:
    nameless = {"util", "utils", "helper", "helpers", "common", "misc"}
    assert not [name for name in FILES if nameless & set(Path(name).with_suffix("").parts)]


def test_every_room_says_what_lives_in_it() -> None:
    rooms = {name: path for name, path in FILES.items() if path.name == "__init__.py"}
    assert not [name for name, path in rooms.items() if ast.get_docstring(ast.parse(path.read_bytes())) is None]


def test_only_the_command_line_prints() -> None:
    def prints(path: Path) -> bool:
        calls = [node.func for node in nodes(path) if isinstance(node, ast.Call)]
        return any(isinstance(call, ast.Name) and call.id == "print" for call in calls)

    assert not [name for name, path in FILES.items() if prints(path) and Path(name).parts[0] != "cli"]


def test_no_file_imports_the_generator_of_python() -> None:
    assert not [name for name, path in FILES.items() if "random" in imported(path)]


def test_no_file_uses_the_global_generator_of_numpy() -> None:
    own = {"np.random.Generator", "np.random.default_rng", "np.random.PCG64"}

    def used(path: Path) -> set[str]:
        attributes = {ast.unparse(node) for node in nodes(path) if isinstance(node, ast.Attribute)}
        return {name for name in attributes if name.startswith("np.random.")}

    assert not [name for name, path in FILES.items() if used(path) - own]


def test_every_protocol_can_be_checked_at_run_time() -> None:
    """The tests check arguments against annotations: a protocol needs ``@runtime_checkable`` for that."""

    def names(node: ast.ImportFrom) -> list[str]:
        return [alias.name for alias in node.names]

    def unchecked(path: Path) -> list[str]:
        if not any(
            isinstance(node, ast.ImportFrom) and node.module == "typing" and "Protocol" in names(node)
            for node in nodes(path)
        ):
            return []  # there, Protocol is that of an evaluation
        classes = [node for node in nodes(path) if isinstance(node, ast.ClassDef)]
        protocols = [node for node in classes if any(ast.unparse(base).startswith("Protocol") for base in node.bases)]
        return [node.name for node in protocols if "runtime_checkable" not in map(ast.unparse, node.decorator_list)]

    assert not {name: unchecked(path) for name, path in FILES.items() if unchecked(path)}


@pytest.mark.parametrize("heavy", ["cyclopts", "torchvision", "matplotlib", "sklearn"])
def test_importing_the_package_imports_nothing_heavy(heavy: str, loaded: set[str]) -> None:
    assert heavy not in loaded


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return set(run_python("import datadistill, sys; print(*sys.modules)").split())


def test_importing_the_package_leaves_the_process_as_it_is() -> None:
    program = """
import ctypes, signal, sys
import numpy, torch

def state():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return (torch.get_num_threads(), torch.get_default_dtype(), torch.backends.cudnn.benchmark,
            torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(), handlers, sys.excepthook)

opened, load = [], ctypes.CDLL
ctypes.CDLL = lambda name, *rest, **options: opened.append(name) or load(name, *rest, **options)
before = state()
import datadistill
assert state() == before
assert None not in opened, "the C library was asked for its allocator"
"""
    assert run_python(program) == ""
