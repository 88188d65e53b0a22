"""Bounds on what a model's files can make an engine do: so many seconds, and on Linux so many bytes."""

import ctypes
import signal
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
def processor_limit(seconds: float) -> Iterator[None]:
    """End this process by SIGPROF when what is inside takes more processor time than that, in whatever language.

    Processor time, so that neither other programs nor a suspended machine end it. On Windows no limit.
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
    """Answer what is inside with MemoryError when the process would grow by more; Rust ends the process instead.

    It is data that counts, not address space, of which each thread's heap reserves a lot. Elsewhere than on Linux no
    limit.
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
