"""Memory that a process has freed and keeps for its next arrays.

Kernels return new arrays of some megabytes, thousands of times a run. By default the C library gives each back to
the operating system, which clears its pages when the next one touches them: as much work as a simple step itself.
"""

import ctypes
from functools import lru_cache

TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
ARENA_MAX = -8
LARGEST_KEPT = 64 << 20
KEPT = 512 << 20


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Let this process keep what it frees; elsewhere than with the GNU C library nothing happens."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(MMAP_THRESHOLD, LARGEST_KEPT)
    mallopt(TRIM_THRESHOLD, KEPT)
    # One pool for all threads: those of single threads are returned to the system whenever they run empty.
    mallopt(ARENA_MAX, 1)
