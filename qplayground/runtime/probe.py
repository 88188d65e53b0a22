"""Asking an engine what this machine is, without loading anything."""

from PySide6.QtCore import QObject, Signal, Slot

from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.messages.events import Event, Hello
from qplayground.runtime.launcher import Launcher
from qplayground.runtime.worker import ChildWorker

CLOSE_WAIT_MS = 10_000


class Probe(QObject):
    """One engine that says hello and is ended. Signals, one of them after each `start`: `known(Hello)`,
    `unknown(ErrorInfo)`; and `ended()` once the engine is gone.
    """

    known = Signal(object)
    unknown = Signal(object)
    ended = Signal()

    def __init__(self, launcher: Launcher, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._launcher = launcher
        self._worker: ChildWorker | None = None
        self._answered = False

    def start(self) -> None:
        """Start it, unless one is at work already."""
        if self._worker is not None:
            return
        self._answered = False
        self._worker = worker = ChildWorker("probe", self._launcher.engine, self)
        worker.event_received.connect(self._on_event)
        worker.exited.connect(self._on_exited)
        worker.finished.connect(worker.deleteLater)
        worker.start()

    def close(self) -> None:
        """End it, now, and say nothing more."""
        self._worker = None
        for worker in self.findChildren(ChildWorker):  # one too that has said goodbye and not quite ended
            worker.end()
            worker.wait(CLOSE_WAIT_MS)

    @Slot(str, object)
    def _on_event(self, _name: str, event: Event) -> None:
        if self._worker is not None and isinstance(event, Hello) and not self._answered:
            self._answered = True
            self._worker.end()
            self.known.emit(event)

    @Slot(str, object)
    def _on_exited(self, _name: str, error: ErrorInfo | None) -> None:
        if self._worker is None:
            return
        self._worker = None
        if not self._answered:
            self._answered = True
            silent = ErrorInfo(ErrorCode.ENGINE_DIED, "The engine said nothing.", "Start again.")
            self.unknown.emit(error or silent)
        self.ended.emit()
