"""A long job in its own child process: a download, or preparing the demo model."""

from collections.abc import Callable

import msgspec
from PySide6.QtCore import QObject, Signal, Slot

from qplayground.core.errors import TRY_ANOTHER_PRECISION, TRY_SMALLER, ErrorCode, ErrorInfo
from qplayground.core.messages.commands import Command
from qplayground.core.messages.events import Event, Failed, JobDone, Progressed
from qplayground.core.model import ModelEntry
from qplayground.runtime.processes.process import ChildProcess
from qplayground.runtime.processes.worker import ChildWorker

_HINTS = {
    TRY_SMALLER: "Close other programs and try again.",
    TRY_ANOTHER_PRECISION: "Try again; if it happens again, please report it.",
}
"""Hints to replace, because they only make sense for engines."""


class Job(QObject):
    """Runs one command in one child process and reports the outcome.

    Signals: `started`, `progressed(Progressed)`…, exactly one of `succeeded(ModelEntry)`, `failed(ErrorInfo)` and
    `cancelled`, then `finished`.
    """

    started = Signal()
    progressed = Signal(object)
    succeeded = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    finished = Signal()

    def __init__(
        self, title: str, make_child: Callable[[], ChildProcess], command: Command, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.title = title
        self._worker = ChildWorker(title, make_child, self, first_command=command)
        self._worker.event_received.connect(self._on_event)
        self._worker.exited.connect(self._on_exited)
        self._worker.finished.connect(self.finished)  # before this, deleting the job would delete a running thread
        self._entry: ModelEntry | None = None
        self._error: ErrorInfo | None = None
        self._cancelled = False

    def start(self) -> None:
        """Start the child."""
        self.started.emit()
        self._worker.start()

    def cancel(self) -> None:
        """Kill the child; `cancelled` follows unless the job was already done."""
        self._cancelled = True
        self._worker.end()

    def close(self, wait_ms: int) -> None:
        """Kill the child and wait for its thread, when the program ends."""
        self.cancel()
        self._worker.wait(wait_ms)

    @Slot(str, object)
    def _on_event(self, _name: str, event: Event) -> None:
        if isinstance(event, Progressed):
            self.progressed.emit(event)
        elif isinstance(event, JobDone):
            self._entry = event.entry
            self._worker.end()
        elif isinstance(event, Failed):
            self._error = event.error
            self._worker.end()

    @Slot(str, object)
    def _on_exited(self, _name: str, error: ErrorInfo | None) -> None:
        if self._entry is not None:
            self.succeeded.emit(self._entry)
        elif self._cancelled:
            self.cancelled.emit()
        else:
            ended = error or ErrorInfo(ErrorCode.ENGINE_DIED, f"{self.title} ended early.", "Try again.")
            self.failed.emit(self._error or msgspec.structs.replace(ended, hint=_HINTS.get(ended.hint, ended.hint)))
