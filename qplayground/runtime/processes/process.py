"""One child process's whole life: started, listened to and ended. No Qt."""

import contextlib
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from qplayground.core.errors import ANOTHER_TOKENIZER, TRY_ANOTHER_PRECISION, TRY_SMALLER, ErrorCode, ErrorInfo
from qplayground.core.messages.codec import EVENTS
from qplayground.core.messages.commands import Command
from qplayground.core.messages.events import Event
from qplayground.core.system.last_words import READING_TEXT
from qplayground.core.system.temporary import owned_prefix
from qplayground.runtime.processes import child

EXIT_GRACE_S = 0.3
LOG_CHECK_S = 1.0
_START_ATTEMPTS, _START_PAUSE_S = 20, 0.05
LOG_LIMIT_BYTES = 1 << 20
LOG_TAIL_BYTES = 8 << 10
_WITHOUT_MEMORY = re.compile(r"std::bad_alloc|\bMemoryError\b|Cannot allocate memory|out of memory")
_TOKENIZER_WITHOUT_MEMORY = re.compile(re.escape(READING_TEXT) + r"\s+memory allocation of \d+ bytes failed")
_LAST_LINES = 3
"""Libraries that end the process on a failed allocation say so last. Earlier messages were survived."""


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Block Ctrl-C for processes started inside. A terminal sends it to every process; the window handles it.

    A fork server that received it while importing would die.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # starting it inside would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ProcessExit(msgspec.Struct, frozen=True):
    """How a child ended. `exit_code` is negative for a signal. `requested`: this side ended it.

    `nonsense` describes the message that could not be decoded, if the child was ended for that.
    """

    exit_code: int | None
    requested: bool
    output_tail: str = ""
    nonsense: str = ""

    @property
    def error(self) -> ErrorInfo | None:
        """The error to show, or None if the child was ended on purpose."""
        if self.nonsense:
            return ErrorInfo(
                ErrorCode.INTERNAL,
                "The engine sent a message that cannot be read.",
                "Run it again; if it happens again, please report it.",
                f"{self.nonsense}\n{self.output_tail}".rstrip(),
            )
        if self.requested:
            return None
        if self.exit_code == -signal.SIGKILL:  # not sent from here: by the kernel's out-of-memory killer, or a person
            sentence = "The engine was killed from outside: by the system, when memory runs out, or by somebody."
            return ErrorInfo(ErrorCode.OUT_OF_MEMORY, sentence, TRY_SMALLER, self.output_tail)
        if self.exit_code == -getattr(signal, "SIGBUS", 0) != 0:  # a mapped page is gone
            return ErrorInfo(
                ErrorCode.BROKEN_WEIGHTS,
                "A file of the model was cut short, or could not be read any more, while the engine read it.",
                "Download the model again, or wait until whatever writes to it is done.",
                self.output_tail,
            )
        if self.exit_code == -getattr(signal, "SIGPROF", 0) != 0:  # the engine's own time limit: `failures.limits`
            sentence = "The model's tokenizer did not come to an end, so the engine was ended."
            return ErrorInfo(ErrorCode.BROKEN_TOKENIZER, sentence, ANOTHER_TOKENIZER, self.output_tail)
        code = self.exit_code or 0
        if code < 0 and _TOKENIZER_WITHOUT_MEMORY.search(self.output_tail):
            return ErrorInfo(
                ErrorCode.OUT_OF_MEMORY,
                "The model's tokenizer ran out of memory while it read a text.",
                "Close other programs and try again; if the text is short, the tokenizer is damaged: choose another "
                "model.",
                self.output_tail,
            )
        if code != -signal.SIGSEGV and _WITHOUT_MEMORY.search("\n".join(self.output_tail.splitlines()[-_LAST_LINES:])):
            return ErrorInfo(ErrorCode.OUT_OF_MEMORY, "The engine ran out of memory.", TRY_SMALLER, self.output_tail)
        how = f"crashed ({_signal_text(-code)})" if code < 0 else f"ended unexpectedly, with exit code {code}"
        return ErrorInfo(ErrorCode.ENGINE_DIED, f"The engine {how}.", TRY_ANOTHER_PRECISION, self.output_tail)


def _signal_text(number: int) -> str:
    try:
        return f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"


def _start(process: BaseProcess) -> None:
    """Start it, with retries. A dying fork server takes no requests until Python notices and starts another."""
    with without_interrupts():
        for _ in range(_START_ATTEMPTS):
            try:
                process.start()
                return
            except (EOFError, ConnectionError):
                time.sleep(_START_PAUSE_S)
        process.start()


class ChildProcess:
    """A context manager that owns a child process from start to end.

    `events` waits on the pipe and on the process together, and ends when the child does. `send` and `kill` may be
    called from any thread; everything else belongs to the thread that entered the context.
    """

    def __init__(self, context: BaseContext, target: str, server_ready: Future[None] | None = None) -> None:
        self._context = context
        self._target = target
        self._server_ready = server_ready
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._log: BinaryIO | None = None
        self._log_path: Path | None = None
        self._sending = threading.Lock()
        self._burying = threading.Lock()  # held only briefly, so that `kill` never waits
        self._reading = threading.Lock()
        self._kill_requested = False
        self._nonsense = ""
        self._may_start = threading.Event()
        self.outcome: ProcessExit | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None while there is no process."""
        with self._burying:
            return None if self._process is None else self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process was started and is running."""
        with self._burying:
            return self._process is not None and self._process.is_alive()

    def start(self) -> None:
        """Start the child, unless it runs already or was killed first.

        Waits for the fork server, if the child comes from one; `kill` ends that wait. Raises OSError if the system
        refuses.
        """
        if self._process is not None or not self._wait_for_server():
            return
        descriptor, path = tempfile.mkstemp(prefix=owned_prefix(), suffix=".log")
        self._log, self._log_path = os.fdopen(descriptor, "r+b", buffering=0), Path(path)
        ours, theirs = self._context.Pipe(duplex=True)
        process = self._context.Process(  # type: ignore[attr-defined]
            target=child.run,
            args=(self._target, theirs, path, self._server_ready is not None),
            name=self._target,
            daemon=True,
        )
        try:
            _start(process)
        except BaseException:
            ours.close()
            self._drop_log()
            raise
        finally:
            theirs.close()
        with self._sending:
            self._connection = ours
            self._process = process
        if self._kill_requested:
            self.kill()

    def _wait_for_server(self) -> bool:
        if self._server_ready is not None:
            self._server_ready.add_done_callback(lambda _: self._may_start.set())
            self._may_start.wait()
            if self._kill_requested:
                return False
            self._server_ready.result()
        return not self._kill_requested

    def __enter__(self) -> "ChildProcess":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        process, connection = self._process, self._connection
        if process is None or connection is None:
            self.outcome = ProcessExit(None, requested=True)
            return
        ended_by_itself = not process.is_alive()
        with self._sending:
            self._connection = None
            connection.close()  # the child ends itself when it sees this
        process.join(EXIT_GRACE_S)
        if process.is_alive():
            process.kill()
            process.join()
        requested = self._kill_requested or not ended_by_itself
        self.outcome = ProcessExit(process.exitcode, requested, self.output_tail(), self._nonsense)
        with self._burying:
            self._process = None
            process.close()
        self._drop_log()

    def send(self, command: Command) -> bool:
        """Send the child a command; False if it has ended."""
        with self._sending:
            if self._connection is None:
                return False
            try:
                self._connection.send_bytes(msgspec.msgpack.encode(command))
            except OSError:
                return False
            return True

    def events(self) -> Iterator[Event]:
        """Every message of the child, in order, until it ends or is killed. Stops at one that cannot be decoded."""
        process, connection = self._process, self._connection
        if process is None or connection is None:
            return
        while not self._kill_requested:
            ready = wait([connection, process.sentinel], LOG_CHECK_S)
            self._cut_log()
            if not ready:
                continue
            data = _receive(connection)
            if data is None:
                process.join(EXIT_GRACE_S)  # its files close a moment before it ends
                return
            try:
                event = EVENTS.decode(data)
            except msgspec.MsgspecError as error:
                self._nonsense = str(error)
                return
            yield event

    def kill(self) -> None:
        """Kill the child at once. Safe from any thread and at any time, even before the start."""
        self._kill_requested = True
        self._may_start.set()
        with self._burying:
            if self._process is not None:
                self._process.kill()

    def output_tail(self) -> str:
        """The end of the child's standard output and error."""
        with self._reading:
            return self._tail()

    def _tail(self) -> str:
        log = self._log
        if log is None:
            return ""
        log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_TAIL_BYTES))
        return log.read().decode("utf-8", "replace").strip()

    def _cut_log(self) -> None:
        with self._reading:
            log = self._log
            if log is not None and os.fstat(log.fileno()).st_size > LOG_LIMIT_BYTES:
                tail = self._tail()
                log.truncate(0)
                log.seek(0)
                log.write(f"{tail}\n".encode())

    def _drop_log(self) -> None:
        with self._reading:
            if self._log is not None:
                self._log.close()
                self._log = None
        if self._log_path is not None:  # a child that ran has removed it, except on Windows
            with contextlib.suppress(OSError):
                self._log_path.unlink(missing_ok=True)


def _receive(connection: Connection) -> bytes | None:
    """One message, the last ones included; None if the child has ended and no message is left."""
    try:
        return connection.recv_bytes() if connection.poll() else None
    except (EOFError, OSError):
        return None
