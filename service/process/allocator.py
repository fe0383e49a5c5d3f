"""Makes the C library return freed memory, so that the process shrinks again after a burst of large requests."""

import ctypes

# Parameters of mallopt(3), and their values. By default, glibc raises both thresholds to the size of the largest freed
# block, up to 32 MiB, and keeps such blocks.
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 8 << 20
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 1 << 20
_M_ARENA_MAX, _ARENAS = -8, 2


def return_freed_memory() -> None:
    """Configures the allocator. Does nothing if the C library lacks these parameters."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)
