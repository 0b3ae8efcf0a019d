"""Fetching official files: written aside, verified by their published checksum, renamed."""

import hashlib
import http.client
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datadistill.core.errors import DataError, DataNotFoundError
from datadistill.data.base import RemoteFile
from datadistill.runtime.atomic import replacing
from datadistill.runtime.progress import Reporter, Silent

TIMEOUT = 10.0
"""Seconds without an answer after which an address is given up."""

_CHUNK = 1 << 20


class _UnusableError(Exception):
    """What came is broken off or not what was asked for; not a fault of the disk."""


def fetch(
    files: Iterable[RemoteFile],
    root: Path,
    reporter: Reporter = Silent(),  # noqa: B008 (has no state)
    timeout: float = TIMEOUT,
) -> None:
    """Fetch every file that is not below ``root`` yet; what is there is left alone.

    Args:
        files: What to fetch.
        root: Data root; folders are made as needed.
        reporter: Shows one bar per file, in MiB.
        timeout: Seconds without an answer after which an address is given up.

    Raises:
        DataNotFoundError: If a file can be had from none of its addresses; names each with its reason.
            No partial file is left behind.
        DataError: If the data root cannot be written.
    """
    for file in files:
        target = root / file.path
        if target.exists():
            continue
        reasons = []
        for address in file.addresses:
            reason = _fetch_one(address, target, file.md5, reporter, timeout)
            if reason is None:
                break
            reasons.append(f"{address}: {reason}")
        else:
            raise DataNotFoundError(f"{target} could not be fetched ({'; '.join(reasons)})")


def _fetch_one(address: str, target: Path, md5: str, reporter: Reporter, timeout: float) -> str | None:
    """Fetch one file; return why it failed, or ``None``."""
    try:
        response = urllib.request.urlopen(address, timeout=timeout)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _why(error)
    try:
        with response, replacing(target) as aside:
            found = _copy(response, aside, target.name, reporter)
            if found != md5:
                raise _UnusableError(f"md5 is {found}, expected {md5}")  # so that it does not replace the target
    except _UnusableError as error:
        return str(error)
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error.strerror or error})") from error
    return None


def _copy(response: Any, aside: Path, title: str, reporter: Reporter) -> str:
    """Write the body to ``aside`` and return its md5."""
    digest = hashlib.md5(usedforsecurity=False)
    announced = response.headers.get("Content-Length") or ""
    length = int(announced) if announced.isdecimal() else 0
    with aside.open("wb") as sink, reporter.bar(title, -(-length // _CHUNK)) as bar:
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _UnusableError(_why(error)) from error
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)
            sink.write(chunk)
            bar.advance()


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()) or type(error).__name__
