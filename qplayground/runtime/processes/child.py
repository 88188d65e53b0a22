"""The first code that runs in a child process. Imports nothing heavy, so that a spare process costs little."""

import ctypes
import importlib
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from qplayground.core.messages.channel import Channel

PARENT_VARIABLE = "_QPLAYGROUND_PARENT"
"""Environment variable in which the fork server finds its parent's process id. The parent may have ended."""
_PR_SET_PDEATHSIG = 1


def run(target: str, connection: Connection, log_path: str, forked: bool) -> None:
    """Redirect output to the log, end with the parent if `forked`, and call `main(channel)` of module `target`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the window to answer
    os.environ["RUST_BACKTRACE"] = "0"  # a backtrace would push the message out of the log's tail
    _redirect_output(log_path)
    if forked:
        _die_with_parent()
    channel = Channel(connection)
    importlib.import_module(target).main(channel)


def _redirect_output(log_path: str) -> None:
    # Append, so that the parent can truncate the file when output floods it.
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    if sys.platform != "win32":  # the parent holds it open, so no file is left behind
        Path(log_path).unlink()
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False, encoding="utf-8", errors="replace")
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, encoding="utf-8", errors="replace")


def _die_with_parent() -> None:
    """Have the kernel kill this process when the fork server ends, which ends with the window.

    Not for spawned children: the signal is tied to the thread that spawned them. They watch their pipe.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
