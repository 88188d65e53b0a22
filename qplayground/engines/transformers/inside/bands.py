"""Cuts a large matrix into bands, so that computing on it needs little memory at once and uses all CPUs."""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

LARGEST = 1 << 18
"""Weights per band. Its temporary tensors, some 20 bytes per weight, then stay in the heap and near the CPU."""
THREADS = torch.get_num_threads()
"""All CPUs, in a process that nobody has restricted."""
_LEAST = 1 << 15
_BANDS = 16


def bands(count: int, unit: int = 1) -> Iterator[tuple[int, int]]:
    """The first weight of each band and the one after its last. All but the last band are whole units.

    A small matrix is cut too, so that the memory needed at once is always a part of the matrix's own size.
    """
    unit = math.lcm(unit, 2)  # two weights share a byte of 4-bit codes
    size = min(LARGEST, max(_LEAST, count // _BANDS))
    step = max(1, size // unit) * unit
    for first in range(0, count, step):
        yield first, min(first + step, count)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let each torch operation in the block use `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_parallel(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Results of the work on each item, in order. As many run at once as there are CPUs, each on one thread.

    torch's own threads wait for each other after every operation. That costs more than the operation when a band is
    small or the CPUs are busy.
    """
    todo = list(items)
    if THREADS == 1 or len(todo) == 1:
        return [work(item) for item in todo]
    return list(_pool().map(work, todo))


@cache
def _pool() -> ThreadPoolExecutor:
    """Created on demand, because a forked process has none of its parent's threads."""
    return ThreadPoolExecutor(THREADS, "bands", initializer=torch.set_num_threads, initargs=(1,))
