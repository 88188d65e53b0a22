"""Finds the parts of files that are mapped into this process, and releases their pages.

On Linux a checkpoint is mapped. What is read of it counts as the process's memory until its pages are released.
"""

import ctypes
import mmap
import os
import sys
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path

import torch

_MADV_DONTNEED = 4
HELD_SOURCE_BYTES = 64 << 20
"""A load releases the file's pages each time it has read this many bytes."""
Ranges = list[tuple[int, int]]
"""Pairs of the first address and the one after the last, in order."""


def release_pages(files: Iterable[Path]) -> None:
    """Release every mapped page of those files from this process. Pages needed later come back from the page cache.

    Called now and then while loading, so that the peak is the model's and not the file's. Other mapped files, libraries
    above all, must keep what was written to their pages. Links are resolved, because a name in a model's folder may
    link to anywhere.
    """
    if sys.platform == "linux":
        paths = {os.fsencode(file.resolve()).replace(b"\n", rb"\012") for file in files}
        for (start, end), path in _file_mappings():
            if path.removesuffix(b" (deleted)") in paths:
                _madvise_dontneed(start, end)


def mapped_ranges() -> Ranges:
    """Address ranges that map files."""
    return sorted(addresses for addresses, _ in _file_mappings())


def _file_mappings() -> list[tuple[tuple[int, int], bytes]]:
    """Address ranges that map files, and those files. Outside Linux: one range of everything, without a file name."""
    if sys.platform != "linux":
        return [((0, sys.maxsize), b"")]
    mappings = []
    for line in Path("/proc/self/maps").read_bytes().splitlines():
        addresses, _, _, _, inode, *path = line.split(maxsplit=5)
        if inode != b"0":
            start, end = addresses.split(b"-")
            mappings.append(((int(start, 16), int(end, 16)), path[0] if path else b""))
    return mappings


def is_mapped(tensor: torch.Tensor, ranges: Ranges) -> bool:
    """Whether the tensor begins in one of the ranges."""
    pointer = tensor.data_ptr()
    index = bisect_right(ranges, (pointer, sys.maxsize)) - 1
    return index >= 0 and ranges[index][0] <= pointer < ranges[index][1]


def drop_pages(source: torch.Tensor) -> None:
    """Release the whole pages of one unmodified file-backed tensor from this process."""
    if sys.platform == "linux":
        page = mmap.PAGESIZE
        start = -(-source.data_ptr() // page) * page
        _madvise_dontneed(start, (source.data_ptr() + source.nbytes) // page * page)


def _madvise_dontneed(start: int, end: int) -> None:
    if end > start:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
