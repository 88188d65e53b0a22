"""Which process something belongs to, in words that another process can check."""

import os
import socket
from typing import NamedTuple

import psutil

_CLOCK_TOLERANCE_S = 60.0
"""Start times are reckoned from the wall clock, which may be set meanwhile. An id is hardly given again so soon."""


class Owner(NamedTuple):
    """A process. Ids are a machine's, or a container's, and are given again; `started_at` tells two of one id apart."""

    machine: str
    pid: int
    started_at: float

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, one of this machine, so that it can be known whether it lives."""
        return self.machine == socket.gethostname()

    @property
    def lives(self) -> bool:
        """Whether it still runs; False where it is another machine's."""
        if not self.is_here:
            return False
        try:
            process = psutil.Process(self.pid)
            ended = process.status() == psutil.STATUS_ZOMBIE
            return not ended and abs(process.create_time() - self.started_at) < _CLOCK_TOLERANCE_S
        except psutil.AccessDenied:
            return True
        except psutil.NoSuchProcess:
            return False


def this_process() -> Owner:
    """The calling one."""
    return Owner(socket.gethostname(), os.getpid(), psutil.Process().create_time())
