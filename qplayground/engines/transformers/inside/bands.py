"""A large matrix in bands, so that what is computed of it needs little memory at once, on all processors."""

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
"""Weights of a band. Its temporary tensors, some 20 bytes a weight, then stay in the heap and near the processor."""
THREADS = torch.get_num_threads()
"""Of a process that nobody has restricted: all processors."""
_LEAST = 1 << 15
_BANDS = 16


def bands(count: int, unit: int = 1) -> Iterator[tuple[int, int]]:
    """The first weight of each band and the one behind its last; all but the last band are whole units of weights.

    A small matrix is in bands too, so that what is needed at once is always a part of the matrix's own size.
    """
    unit = math.lcm(unit, 2)  # two weights share a byte of 4-bit codes
    size = min(LARGEST, max(_LEAST, count // _BANDS))
    step = max(1, size // unit) * unit
    for first in range(0, count, step):
        yield first, min(first + step, count)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Inside, each of torch's operations here is computed by so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_parallel(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The work on each, in their order: as many at once as there are processors, each on a single one.

    torch's own threads wait for each other after every operation, which costs more than the operation when a band is
    small or the processors are busy.
    """
    todo = list(items)
    if THREADS == 1 or len(todo) == 1:
        return [work(item) for item in todo]
    return list(_pool().map(work, todo))


@cache
def _pool() -> ThreadPoolExecutor:
    """Not before it is needed: a process that was forked has no threads of the one before."""
    return ThreadPoolExecutor(THREADS, "bands", initializer=torch.set_num_threads, initargs=(1,))
