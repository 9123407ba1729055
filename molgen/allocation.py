"""Memory that a process frees stays its own: on Linux, large tensors otherwise cost a page fault per 4 kB."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# names of glibc's <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Tell glibc to serve large blocks from its heap and keep what is freed; True where that could be told.

    For programs of our own (the command line, scripts), called once before the work; never by the library, since it
    holds for the whole process. It matters where other jobs keep the kernel busy, and costs nothing elsewhere:
    `scripts/benchmarks/training.py` measures both.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_ARENA_MAX, 1))
    return all(mallopt(name, value) == 1 for name, value in settings)
