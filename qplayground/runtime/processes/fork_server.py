"""The fork server: one process with the engine's libraries imported. Engines are forked from it in milliseconds.

Python's own fork server does the work. A request to it blocks for seconds, until its imports are done. So a thread
makes the first request, and everybody else waits in a way that can be cancelled.
"""

import contextlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
from concurrent.futures import Future
from multiprocessing import forkserver, util
from multiprocessing.context import BaseContext
from pathlib import Path

import psutil

from qplayground.core.system.temporary import owned_prefix
from qplayground.runtime.processes.child import PARENT_VARIABLE
from qplayground.runtime.processes.process import without_interrupts

_COMMAND = "multiprocessing.forkserver"
_LIFELINE = "qplayground.runtime.processes.lifeline"
_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""Longest path of a socket. `sun_path` has 108 bytes (104 on macOS), including the final zero."""
_LONGEST_FOLDER = _SOCKET_PATH_BYTES - len("/listener-12345678")
"""Python names the socket `listener-` and eight random letters."""


class ForkServer:
    """Starts the server, knows when it is ready, and can end it while it still imports."""

    def __init__(self, context: BaseContext, preload: str) -> None:
        self._context = context
        self._preload = preload
        self._process: psutil.Process | None = None
        self._ready: Future[None] = Future()
        self._lock = threading.Lock()

    def ensure_running(self) -> Future[None]:
        """Start the server unless it runs. The future is done when it can fork, or holds the exception."""
        with self._lock:
            if self._process is None or not _is_alive(self._process):
                self._context.set_forkserver_preload([_LIFELINE, self._preload])
                os.environ[PARENT_VARIABLE] = str(os.getpid())
                _own_socket_folder()
                with without_interrupts():
                    forkserver.ensure_running()
                self._process = _find()
                self._ready = Future()
                threading.Thread(target=self._ask, args=(self._ready,), name="fork server", daemon=True).start()
            return self._ready

    def close(self) -> None:
        """Kill a server that still imports. One that is ready ends with this process."""
        with self._lock:
            if self._process is not None and not self._ready.done() and _is_alive(self._process):
                self._process.kill()
                with contextlib.suppress(ChildProcessError):  # until it has ended, Python would use it
                    os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)

    def _ask(self, ready: Future[None]) -> None:
        try:
            first = self._context.Process(target=_nothing)  # type: ignore[attr-defined]
            with without_interrupts():  # if the server has ended, Python starts another one here
                first.start()
            first.join()
        except (OSError, EOFError) as error:
            ready.set_exception(OSError(f"the fork server did not start: {error!r}"))
        else:
            ready.set_result(None)


def _own_socket_folder() -> None:
    """Put the server's socket in a folder whose name marks it as ours, so that it is removed after a kill.

    Python's own folder name does not. If the path is too long in the user's temporary folder, use `/tmp`.
    """
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    if config.get("tempdir") is not None:
        return
    for place in (None, "/tmp"):
        with contextlib.suppress(OSError):
            folder = tempfile.mkdtemp(prefix=owned_prefix(), dir=place)
            if len(os.fsencode(folder)) <= _LONGEST_FOLDER:
                util.Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=-100)
                config["tempdir"] = folder
                return
            Path(folder).rmdir()


def _nothing() -> None:
    """The first child's target: does nothing."""


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _find() -> psutil.Process | None:
    for process in psutil.Process().children():
        try:
            if any(_COMMAND in part for part in process.cmdline()) and _is_alive(process):
                return process
        except psutil.NoSuchProcess:
            continue
    return None
