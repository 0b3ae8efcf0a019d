"""Fetching files, from a folder, from a server on this machine, and from one that is not there."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data.base import RemoteFile
from datadistill.data.download import fetch

CONTENT = bytes(range(256)) * 5000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/slow":
            self.server.released.wait(5)  # type: ignore[attr-defined]
            return
        self.wfile.write(CONTENT[:1000] if self.path == "/short" else CONTENT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.released = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.released.set()  # type: ignore[attr-defined]
        running.shutdown()
        thread.join()


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_fetches_from_a_server(tmp_path: Path, server: str) -> None:
    fetch([RemoteFile("a/b.bin", (f"{server}/x",), MD5)], tmp_path)
    assert (tmp_path / "a" / "b.bin").read_bytes() == CONTENT
    assert files_below(tmp_path) == ["a/b.bin"]


def test_the_second_address_serves_when_the_first_does_not(tmp_path: Path, server: str) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    addresses = (f"{server}/missing", (tmp_path / "source").as_uri())
    fetch([RemoteFile("b.bin", addresses, MD5)], tmp_path)
    assert (tmp_path / "b.bin").read_bytes() == CONTENT


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "b.bin").write_bytes(b"mine")
    fetch([RemoteFile("b.bin", ("http://127.0.0.1:1/",), MD5)], tmp_path)
    assert (tmp_path / "b.bin").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/missing", "Not Found"), ("/short", "md5 is "), ("/slow", "timed out")],
)
def test_failures_leave_nothing_behind(tmp_path: Path, server: str, path: str, reason: str) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        fetch([RemoteFile("b.bin", (server + path,), MD5)], tmp_path, timeout=0.2)
    assert str(caught.value).startswith(f"{tmp_path / 'b.bin'} could not be fetched ({server}{path}: {reason}")
    assert files_below(tmp_path) == []


def test_wrong_content_is_not_kept(tmp_path: Path, server: str) -> None:
    with pytest.raises(DataNotFoundError, match=f"md5 is {MD5}, expected {'0' * 32}"):
        fetch([RemoteFile("b.bin", (f"{server}/x",), "0" * 32)], tmp_path)
    assert files_below(tmp_path) == []


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}/b.bin"
    with pytest.raises(DataNotFoundError, match=r"Connection refused\)$"):
        fetch([RemoteFile("b.bin", (address,), MD5)], tmp_path)
    with pytest.raises(DataNotFoundError, match="unknown url type"):
        fetch([RemoteFile("b.bin", ("nowhere",), MD5)], tmp_path)


def test_a_root_that_cannot_be_written(tmp_path: Path, server: str) -> None:
    (tmp_path / "root").write_text("a file")
    with pytest.raises(DataError, match="cannot be written"):
        fetch([RemoteFile("b.bin", (f"{server}/x",), MD5)], tmp_path / "root")
