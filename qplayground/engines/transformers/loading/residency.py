"""Making weights really resident.

On Linux a checkpoint loaded in its own dtype is only mapped: "loaded" costs nothing and the first forward pays for
the disk. Such weights are copied into memory of their own, which is also what a quantized model's weights are in, so
that precisions can be compared.
"""

import ctypes
import mmap
import os
import sys
from bisect import bisect_right
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from qplayground.engines.transformers.loading.offload import offloaded_in_ram
from qplayground.engines.transformers.progress import OnProgress

_MADV_DONTNEED = 4


def make_resident(model: nn.Module, on_progress: OnProgress) -> int:
    """Copy every file-backed weight into anonymous memory, keeping ties, and return the bytes copied.

    The source's pages are let go tensor by tensor, so the transient cost is one tensor and not a second model.
    """
    mapped = sorted(addresses for addresses, _ in _file_mappings())
    tied: dict[tuple[int, torch.Size], list[torch.Tensor]] = {}
    for tensor in chain(model.parameters(), model.buffers(), offloaded_in_ram(model)):
        if tensor.device.type == "cpu" and _is_mapped(tensor, mapped):
            tied.setdefault((tensor.data_ptr(), tensor.shape), []).append(tensor)
    total = sum(_num_bytes(sharers[0]) for sharers in tied.values())
    done = 0
    for sharers in tied.values():
        source = sharers[0].data
        copy = source.clone()
        for tensor in sharers:
            tensor.data = copy
        done += _num_bytes(copy)
        _drop_pages(source)
        on_progress("Copying into memory", done, total)
    return done


def let_go_of_source(files: Iterable[Path]) -> None:
    """Take every mapped page of those files out of this process; what is needed comes back from the system's cache.

    Called now and then while loading, so that the peak is the model's and not the file's. A name in a model's folder
    may be a link to anywhere; other mapped files, libraries above all, must keep what was written to their pages.
    """
    if sys.platform == "linux":
        paths = {os.fsencode(file.resolve()).replace(b"\n", rb"\012") for file in files}
        for (start, end), path in _file_mappings():
            if path.removesuffix(b" (deleted)") in paths:
                _madvise_dontneed(start, end)


def _num_bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _file_mappings() -> list[tuple[tuple[int, int], bytes]]:
    """Address ranges that map files, and those files. Elsewhere than on Linux: everything maps one without a name."""
    if sys.platform != "linux":
        return [((0, sys.maxsize), b"")]
    mappings = []
    for line in Path("/proc/self/maps").read_bytes().splitlines():
        addresses, _, _, _, inode, *path = line.split(maxsplit=5)
        if inode != b"0":
            start, end = addresses.split(b"-")
            mappings.append(((int(start, 16), int(end, 16)), path[0] if path else b""))
    return mappings


def _is_mapped(tensor: torch.Tensor, ranges: list[tuple[int, int]]) -> bool:
    pointer = tensor.data_ptr()
    index = bisect_right(ranges, (pointer, sys.maxsize)) - 1
    return index >= 0 and ranges[index][0] <= pointer < ranges[index][1]


def _drop_pages(source: torch.Tensor) -> None:
    """Take the whole pages of one unmodified file-backed tensor out of this process."""
    if sys.platform == "linux":
        page = mmap.PAGESIZE
        start = -(-source.data_ptr() // page) * page
        _madvise_dontneed(start, (source.data_ptr() + _num_bytes(source)) // page * page)


def _madvise_dontneed(start: int, end: int) -> None:
    if end > start:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
