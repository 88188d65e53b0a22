"""Which process something belongs to, in words that another process can check."""

import hashlib
import os
import socket
from pathlib import Path
from typing import NamedTuple

import psutil


class Owner(NamedTuple):
    """A process. Ids are given again; `started` tells two of one id apart: a container's first process is always 1."""

    machine: str
    pid: int
    started: int

    @property
    def is_here(self) -> bool:
        """Whether its id means here what it means there, so that it can be known whether it lives."""
        return self.machine == _MACHINE

    @property
    def lives(self) -> bool:
        """Whether it still runs; False where it is another machine's."""
        if not self.is_here:
            return False
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE and _started(self.pid) == self.started
        except (psutil.AccessDenied, PermissionError):
            return True
        except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
            return False


def this_process() -> Owner:
    """The calling one."""
    return Owner(_MACHINE, os.getpid(), _started(os.getpid()))


def _machine() -> str:
    """Host and, on Linux, pid namespace: folders can be shared by machines, and by containers of one host name.

    Not the machine's id, which containers of one image share, and not the boot's: what a reboot ended is to be known.
    """
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()}\0{namespace}".encode()).hexdigest()[:8]


_MACHINE = _machine()


def _started(pid: int) -> int:
    """When a process began, as the system wrote it down then, whatever becomes of the clock.

    On Linux in ticks since boot (field 22 of proc_pid_stat(5)): psutil estimates the time of day from that and the
    clock. Elsewhere in milliseconds.
    """
    if psutil.LINUX:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2]
        return int(after_name.split()[19])
    return int(1000 * psutil.Process(pid).create_time())
