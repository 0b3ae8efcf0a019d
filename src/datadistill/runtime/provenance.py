"""Where a result comes from: commit, versions, hardware, command."""

import platform
import shlex
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path

import torch

from datadistill.runtime.device import describe_hardware
from datadistill.runtime.records import Provenance

_PACKAGES = ("datadistill", "torch", "numpy", "scipy", "safetensors", "pillow", "scikit-learn", "torchvision", "timm")


def collect_provenance(seed: int, device: torch.device) -> Provenance:
    """Return a record of this process, this checkout and this machine."""
    commit, dirty = _checkout(Path(__file__).resolve().parent)
    return Provenance(
        command=shlex.join([Path((sys.argv or [""])[0]).name or "python", *sys.argv[1:]]),
        seed=seed,
        started=datetime.now().astimezone().isoformat(timespec="seconds"),
        commit=commit,
        dirty=dirty,
        versions={"python": platform.python_version(), **_versions()},
        hardware=describe_hardware(device),
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _checkout(folder: Path) -> tuple[str | None, bool | None]:
    """Return commit and dirtiness of the checkout that holds this package, if it tracks this file."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None
