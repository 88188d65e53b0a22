"""Tunes glibc's allocator: keep nothing while loading, keep working blocks while decoding.

With glibc's defaults, a 4-bit load keeps three times its own size in freed heap. With small thresholds throughout,
every weight dequantized for a token is a fresh mmap, and decoding takes twice as long. So the thresholds change with
the phase.
"""

import ctypes
import gc
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_KIB = 1024
KEPT_BYTES = 32 * _KIB * _KIB
"""While decoding, the heap keeps blocks up to this size (glibc's maximum). Larger ones go back at once."""


def _libc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") else None  # musl has neither call


def _set_thresholds(num_bytes: int) -> None:
    libc = _libc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, num_bytes)
        libc.mallopt(_M_TRIM_THRESHOLD, num_bytes)


def enter_loading() -> None:
    """Give freed blocks of 128 KiB or more back to the system at once, and use a single arena."""
    libc = _libc()
    if libc is not None:
        libc.mallopt(_M_ARENA_MAX, 1)
    _set_thresholds(128 * _KIB)


def enter_warm_up() -> None:
    """Drop what loading left behind.

    Blocks of 8 MiB or more, which repacking a large layer takes, go back to the system at once.
    """
    release()
    _set_thresholds(8 * _KIB * _KIB)


def enter_decoding() -> None:
    """Drop what loading left behind, then keep blocks for the next token."""
    release()
    _set_thresholds(KEPT_BYTES)


def release() -> None:
    """Collect garbage and return free heap to the system."""
    gc.collect()
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)
