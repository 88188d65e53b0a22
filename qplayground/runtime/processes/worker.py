"""A QThread that owns one child process and forwards its events."""

import tempfile
from collections.abc import Callable

from PySide6.QtCore import QObject, QThread, Signal, Slot

from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.messages.commands import Command
from qplayground.runtime.processes.process import ChildProcess, ProcessExit
from qplayground.runtime.storage.leftovers import clear_leftovers


class ChildWorker(QThread):
    """Translates between a child process and Qt; it holds no policy.

    Signals: `event_received(name, Event)` for every event of the child, in order. Then, exactly once,
    `exited(name, ErrorInfo | None)`, with the reason if the child ended by itself. `submit` and `end` may be called
    from any thread at any time. `first_command` is sent as soon as the child has started.
    """

    event_received = Signal(str, object)
    exited = Signal(str, object)

    def __init__(
        self,
        name: str,
        make_child: Callable[[], ChildProcess],
        parent: QObject | None = None,
        first_command: Command | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._name = name
        self._make_child = make_child
        self._child: ChildProcess | None = None
        self._end_requested = False
        self._first_command = first_command

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs, else None."""
        return None if self._child is None else self._child.pid

    def output_tail(self) -> str:
        """The end of the child's standard output and error."""
        return "" if self._child is None else self._child.output_tail()

    @Slot(object)
    def submit(self, command: Command) -> bool:
        """Send the child a command; False if there is no child."""
        return self._child is not None and self._child.send(command)

    @Slot()
    def end(self) -> None:
        """Kill the child. `exited` follows."""
        self._end_requested = True
        if self._child is not None:
            self._child.kill()

    def run(self) -> None:
        """Own the child from start to end."""
        error: ErrorInfo | None = None
        try:
            child = self._make_child()
            self._child = child
            if self._end_requested:  # `end` came before the child existed; entering it can take long
                child.kill()
            with child:
                clear_leftovers()
                if self._first_command is not None:
                    child.send(self._first_command)
                for event in child.events():
                    self.event_received.emit(self._name, event)
            outcome: ProcessExit | None = child.outcome
            error = outcome.error if outcome is not None else None
        except Exception as failure:  # `exited` must follow in any case
            error = _not_started(failure)
        finally:
            self.exited.emit(self._name, None if self._end_requested else error)


def _not_started(failure: Exception) -> ErrorInfo:
    """The error for a process that could not be started. It needs a socket in a temporary folder."""
    detail = f"{type(failure).__name__}: {failure}"
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return ErrorInfo(
            ErrorCode.ENGINE_DIED,
            "No folder for temporary files can be written to: its disk is full or read-only.",
            "Free some space there, or set TMPDIR to a folder on another disk, and start again.",
            detail,
        )
    message = "The engine's process could not be started or followed."
    return ErrorInfo(ErrorCode.ENGINE_DIED, message, "Close other programs and try again.", detail)
