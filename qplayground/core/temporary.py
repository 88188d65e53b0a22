"""Temporary files and folders whose names say whose they are, so that what a killed program left can be told."""

import contextlib
import functools
import hashlib
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

import psutil

_MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
"""Process ids are a machine's, or a container's, and folders can be shared."""
_OWNED = re.compile(rf"qplayground-(?:[a-z]+-)?{_MACHINE}-(\d{{1,9}})-.+")


def owned_prefix(kind: str = "") -> str:
    """What the name of a file or folder begins with that is this process's own, and of no use once it has ended."""
    return f"qplayground-{kind}{'-' if kind else ''}{_MACHINE}-{os.getpid()}-"


def clear_left(folder: Path) -> None:
    """Remove what such processes of this machine left there as do not live any more. What cannot be removed stays."""
    with contextlib.suppress(OSError):
        for left in folder.iterdir():
            found = _OWNED.fullmatch(left.name)
            if found is None or psutil.pid_exists(int(found[1])):
                continue
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    left.unlink()


@functools.cache
def clear_temporary_folder() -> None:
    """Do so in the system's temporary folder, once a process. Raises OSError where there is none."""
    clear_left(Path(tempfile.gettempdir()))
