"""Asking an engine what this machine is, without loading anything."""

from PySide6.QtCore import QObject, Signal, Slot

from qplayground.core.errors import ErrorInfo
from qplayground.core.messages.events import Hello
from qplayground.runtime.clients.engine_client import EngineClient
from qplayground.runtime.processes.launcher import Launcher


class Probe(QObject):
    """One engine that says hello and is ended. Signals, one of them after each `start`: `known(Hello)`,
    `unknown(ErrorInfo)`; and `ended()` once the engine is gone.
    """

    known = Signal(object)
    unknown = Signal(object)
    ended = Signal()

    def __init__(self, launcher: Launcher, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._client = EngineClient("probe", launcher, "Start again.", self)
        self._client.greeted.connect(self._on_greeted)
        self._client.lost.connect(self._on_lost)
        self._client.gone.connect(self._on_gone)
        self._is_there = False

    def start(self) -> None:
        """Start it, unless one is there already."""
        if not self._is_there:
            self._is_there = True
            self._client.begin()

    def close(self) -> None:
        """End it, now, and say nothing more."""
        self._client.close()

    @Slot(object)
    def _on_greeted(self, hello: Hello) -> None:
        self._client.end()
        self.known.emit(hello)

    @Slot(object)
    def _on_lost(self, error: ErrorInfo) -> None:
        self.unknown.emit(error)

    @Slot()
    def _on_gone(self) -> None:
        self._is_there = False
        self.ended.emit()
