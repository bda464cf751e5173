"""Memory that one batch frees stays for the next."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h
LARGEST = 32 << 20  # bytes: the largest block that glibc takes from its heap
KEPT = 512 << 20  # bytes of free heap; a batch of a small model frees some 100 MB


@contextmanager
def freed_memory_stays() -> Iterator[None]:
    """Where C's allocator is glibc's: free memory is not given back to the system as long as this is open.

    glibc would give back what a batch frees, and get it again page by page in the next, which is up to a tenth of a survey's
    time. Afterwards the free memory is given back, and the thresholds are those to which glibc comes by itself once a block of
    32 MB was freed (mallopt(3), "dynamic mmap threshold").
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, LARGEST)
    libc.mallopt(_TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        libc.mallopt(_TRIM_THRESHOLD, 2 * LARGEST)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        _ = libc.gnu_get_libc_version, libc.mallopt, libc.malloc_trim
    except (OSError, TypeError, AttributeError):  # another system, another library
        return None
    return libc
