"""Temporary files and folders whose names say whose they are, so that what a killed program left can be told."""

import contextlib
import hashlib
import os
import re
import shutil
import socket
from pathlib import Path

import psutil


def _machine() -> str:
    """Where process ids mean what they mean here. Folders can be shared by machines, and by containers of one name."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()}\0{namespace}".encode()).hexdigest()[:8]


_MACHINE = _machine()
_UNKNOWN = 0
_PREFIX = "qplayground-"
_OWNED = re.compile(rf"{_PREFIX}(?:[a-z]+-)?{_MACHINE}-(\d{{1,9}})-(\d{{1,20}})-.+")


def owned_prefix(kind: str = "") -> str:
    """What the name of a file or folder begins with that is this process's own, and of no use once it has ended."""
    pid = os.getpid()
    return f"{_PREFIX}{kind}{'-' if kind else ''}{_MACHINE}-{pid}-{_started(pid)}-"


def is_owned(path: Path) -> bool:
    """Whether it is such a file or folder, whosever it is."""
    return path.name.startswith(_PREFIX)


def clear_left(folder: Path) -> None:
    """Remove what such processes of this machine left there as do not live any more. What cannot be removed stays."""
    with contextlib.suppress(OSError):
        for left in folder.iterdir():
            found = _OWNED.fullmatch(left.name)
            if found is None or _may_live(int(found[1]), int(found[2])):
                continue
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    left.unlink()


def _may_live(pid: int, started: int) -> bool:
    """Whether that very process may. Another can have its id: a container's first process is always 1."""
    if not psutil.pid_exists(pid):
        return False
    now = _started(pid)
    return _UNKNOWN in (started, now) or started == now


def _started(pid: int) -> int:
    """When a process began, in clock ticks since boot; _UNKNOWN where the system does not tell.

    psutil's time of day would be another one once somebody sets the clock.
    """
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2]
        return int(after_name.split()[19])  # field 22, proc_pid_stat(5)
    except (OSError, ValueError, IndexError):
        return _UNKNOWN
