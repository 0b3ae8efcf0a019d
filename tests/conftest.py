"""The ground every test stands on: one thread, no network, global generators left alone.

Nothing here imports ``datadistill`` at the top: the shapes of its functions are checked by an import hook
that must come first.
"""

import ipaddress
import os
import random
import socket
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import numpy as np
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("in_ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("in_ci" if os.environ.get("CI") else "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption("--gpu", action="store_true", help="also run the tests marked gpu")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow and gpu tests out unless ``-m``, ``--slow`` or ``--gpu`` asks for them."""
    if not config.option.markexpr:
        unasked = {name for name in ("slow", "gpu") if not config.getoption(f"--{name}")}
        left_out = [item for item in items if any(item.get_closest_marker(name) for name in unasked)]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="torch sees no CUDA device"))


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Fail a test that opens a connection to another machine or looks a name up."""
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def checked_connect(self: socket.socket, address: object) -> None:
        _refuse_other_machines(address)
        connect(self, address)  # type: ignore[arg-type]

    def checked_connect_ex(self: socket.socket, address: object) -> int:
        _refuse_other_machines(address)
        return connect_ex(self, address)  # type: ignore[arg-type]

    def checked_look_up(host: object, *arguments: object, **options: object) -> object:
        _refuse_other_machines((host,))
        return look_up(host, *arguments, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked_connect)
        patch.setattr(socket.socket, "connect_ex", checked_connect_ex)
        patch.setattr(socket, "getaddrinfo", checked_look_up)
        yield


def _refuse_other_machines(address: object) -> None:
    if not isinstance(address, tuple):  # a Unix socket: a path on this machine
        return
    host = address[0].decode() if isinstance(address[0], bytes) else str(address[0] or "localhost")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        pytest.fail(f"tests do not use the network, this one asked for {host}", pytrace=True)


@pytest.fixture(autouse=True)
def _process_state() -> Iterator[None]:
    """Put the process-wide switches back that a test may change through ``datadistill.runtime``."""
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark
    yield
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark = tf32


@pytest.fixture(autouse=True)
def _global_generators_untouched(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which torch's or numpy's global generator stands elsewhere.

    The one of Python's ``random`` is not watched: beartype draws from it. That the package never imports
    ``random`` is a law in ``tests/architecture``.
    """
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()
    yield
    if "global_generators" in request.fixturenames:
        return
    changed = [] if torch.equal(torch_before, torch.get_rng_state()) else ["torch"]
    changed += [] if _same_numpy(numpy_before, np.random.get_state()) else ["numpy"]
    torch.set_rng_state(torch_before)
    np.random.set_state(numpy_before)
    assert not changed, (
        f"the global generator of {' and '.join(changed)} was used: pass a torch.Generator instead, or, where the "
        "test itself means to use it, ask for the fixture `global_generators`"
    )


def _same_numpy(one: Any, other: Any) -> bool:
    return one[2:] == other[2:] and np.array_equal(one[1], other[1])


@pytest.fixture
def global_generators() -> Iterator[None]:
    """Seed the global generators for a test that uses them on purpose, and put them back after it."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)
    torch.random.default_generator.manual_seed(0)
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
