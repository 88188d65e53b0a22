"""Limits on the time, and on Linux the memory, that a model's files can make an engine use."""

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class TookTooLongError(BaseException):
    """Raised inside code that took too long. Not an Exception, because libraries catch those in places."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block with TookTooLongError after `seconds`.

    A single long operation in C is interrupted only when it returns.
    """
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
def processor_limit(seconds: float) -> Iterator[None]:
    """End this process by SIGPROF if the block takes more CPU time than `seconds`, in any language.

    CPU time, so that neither other programs nor a suspended machine end it. No limit on Windows.
    """
    if sys.platform == "win32":
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@contextmanager
def memory_limit(num_bytes: int) -> Iterator[None]:
    """Raise MemoryError in the block if the process would grow by more than `num_bytes`; Rust ends the process instead.

    Limits data, not address space, because each thread's heap reserves much of that. No limit outside Linux.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = psutil.Process().memory_info().data + num_bytes
    lower = limit if soft == resource.RLIM_INFINITY else min(limit, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (lower, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
