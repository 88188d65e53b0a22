"""The first code that runs in a child process. Imports nothing heavy, so that a spare can wait cheaply."""

import ctypes
import importlib
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from qplayground.core.messages.channel import Channel

PARENT_VARIABLE = "_QPLAYGROUND_PARENT"
"""The environment's variable in which a fork server finds its parent's process id, who may be gone by then."""
_PR_SET_PDEATHSIG = 1


def run(target: str, connection: Connection, log_path: str, forked: bool) -> None:
    """Send output to the log, tie this process's life to its parent's, and call `main(channel)` of module `target`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the window to answer
    os.environ["RUST_BACKTRACE"] = "0"  # or a library's last words would be all frames, and the log's tail too short
    _redirect_output(log_path)
    if forked:
        _die_with_parent()
    channel = Channel(connection)
    importlib.import_module(target).main(channel)


def _redirect_output(log_path: str) -> None:
    # Appending, so that the parent can cut the file short under a flood.
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    if sys.platform != "win32":  # the parent holds it open; so nothing is left, however both of them end
        Path(log_path).unlink()
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False, encoding="utf-8", errors="replace")
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, encoding="utf-8", errors="replace")


def _die_with_parent() -> None:
    """A fork server's children are killed by the kernel when it goes, which it does when the window does.

    Not for spawned children: the signal is tied to the thread that spawned them. They watch their pipe.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
