"""The fork server: one process that has the engine's libraries imported, from which engines are forked in milliseconds.

Python's own fork server does the work. Asking it for a process blocks until its imports are done, which takes
seconds, so that first question is asked on a thread of its own and everybody else waits for the answer in a way that
can be given up.
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
"""The longest path of a socket: `sun_path` has 108 bytes, 104 on macOS, with the zero at its end."""
_LONGEST_FOLDER = _SOCKET_PATH_BYTES - len("/listener-12345678")
"""Python names the socket so, with eight letters of its own."""


class ForkServer:
    """Starts the server, knows when it is ready, and can end it while it is still importing."""

    def __init__(self, context: BaseContext, preload: str) -> None:
        self._context = context
        self._preload = preload
        self._process: psutil.Process | None = None
        self._ready: Future[None] = Future()
        self._lock = threading.Lock()

    def ensure_running(self) -> Future[None]:
        """Start the server unless it runs; the answer is done when it can fork, or holds why it cannot."""
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
        """End a server that is still importing. One that is ready ends by itself when this process does."""
        with self._lock:
            if self._process is not None and not self._ready.done() and _is_alive(self._process):
                self._process.kill()
                with contextlib.suppress(ChildProcessError):  # until it is gone Python would take it to serve
                    os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)

    def _ask(self, ready: Future[None]) -> None:
        try:
            first = self._context.Process(target=_nothing)  # type: ignore[attr-defined]
            with without_interrupts():  # where the server is gone, Python starts another one here
                first.start()
            first.join()
        except (OSError, EOFError) as error:
            ready.set_exception(OSError(f"the fork server did not start: {error!r}"))
        else:
            ready.set_result(None)


def _own_socket_folder() -> None:
    """Have the folder of the server's socket say whose it is. Python's own name does not, and nobody removes it after a
    kill. Where the user's folder for temporary files makes a socket's path too long, it is in the system's.
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
    """What the first child runs."""


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
