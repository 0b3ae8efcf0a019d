"""Devices, threads and precision: what the arithmetic runs on."""

import os
import platform
import resource
import sys
from pathlib import Path
from typing import Literal

import torch

from datadistill.core.errors import UsageError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``; ``auto`` takes a GPU where there is one.

    Raises:
        UsageError: If the device is unknown or not present.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unknown = f"--device {name}: not a device; valid: auto, cpu, cuda, cuda:1 …"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(unknown) from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(unknown)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: torch {torch.__version__} sees no CUDA device here; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    return device


def usable_cores() -> int:
    """Return the number of processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Precision = Literal["tf32", "float32", "bf16"]


def set_up(threads: int, precision: Precision = "tf32") -> None:
    """Set the process-wide switches of the arithmetic.

    Args:
        threads: Of the CPU.
        precision: Of convolutions on CUDA: ``tf32`` rounds their inputs to 10 bits of mantissa, ``float32`` does
            not. Matrix products, parameters and distances are float32 in either case, and so is the CPU.
            ``bf16`` is ``tf32`` here; it is the student steps that compute in bfloat16 besides.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def peak_bytes(device: torch.device) -> int:
    """Return the largest memory used so far: of the device on CUDA, of this process otherwise."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def describe_hardware(device: torch.device) -> dict[str, str]:
    """Return processor, cores, memory, system and accelerator in words."""
    facts = {
        "processor": _processor(),
        "cores": str(usable_cores()),
        "memory_gib": f"{total_bytes(torch.device('cpu')) / 2**30:.0f}",
        "system": f"{platform.system()} {platform.machine()}",
        "device": str(device),
    }
    if device.type == "cuda":
        facts["accelerator"] = torch.cuda.get_device_name(device)
    return facts


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def total_bytes(device: torch.device) -> int:
    """Return the memory there is: of the device on CUDA, of the machine otherwise."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free now: of the device on CUDA, of the machine otherwise."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return total_bytes(torch.device("cpu"))


def resident_bytes() -> int:
    """Return the memory this process has now; where the system does not say, the most it has had."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak_bytes(torch.device("cpu"))


def occupied_bytes(device: torch.device) -> int:
    """Return the memory in use now: on CUDA by this process's tensors, otherwise by the process."""
    return int(torch.cuda.memory_allocated(device)) if device.type == "cuda" else resident_bytes()
