"""Keep freed memory in the process, instead of handing big blocks back to the kernel on every free.

glibc maps every large tensor anew and unmaps it when it is freed; the page faults cost more than the
arithmetic of a small network. A property of the process, so only entry points and workers set it.
"""

import ctypes
import sys

_M_ARENA_MAX = -8
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_BELOW_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed blocks below 1 GiB; return whether it agreed.

    Only glibc on Linux can be asked. Costs address space, not time; the peak may rise. All threads share one arena:
    the others cannot hold blocks above 64 MiB, and would map each of them anew.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    agreed = [mallopt(option, _KEEP_BELOW_BYTES) for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD)]
    return all([*agreed, mallopt(_M_ARENA_MAX, 1)])
