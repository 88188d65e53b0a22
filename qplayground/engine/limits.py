"""Bounds on what a model's files can make Python do: so many seconds, and on Linux so many bytes."""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class TookTooLongError(BaseException):
    """Raised in the middle of what took too long. No Exception, which libraries catch here and there."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what is inside with a TookTooLongError. A single long operation in C is only interrupted behind it."""
    thread = ctypes.c_ulong(threading.get_ident())
    deciding = threading.Lock()
    over = False

    def interrupt() -> None:
        with deciding:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TookTooLongError))

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with deciding:
            over = True
        timer.cancel()


@contextmanager
def memory_limit(num_bytes: int) -> Iterator[None]:
    """Answer what is inside with MemoryError when the process would grow by more. Elsewhere than on Linux no limit."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + num_bytes
    lower = limit if soft == resource.RLIM_INFINITY else min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (lower, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
