"""Measures the quantization error of many layers, in its own engine, so that the one that shows a matrix stays free."""

from PySide6.QtCore import QObject, Signal, SignalInstance, Slot

from qplayground.core.errors import ErrorInfo
from qplayground.core.inside import QuantizationParams
from qplayground.core.messages.events import Event, Progressed
from qplayground.core.messages.inside import LayerMeasured, LayersMeasured, MeasureLayers
from qplayground.runtime.clients.engine_client import EngineClient
from qplayground.runtime.processes.launcher import Launcher


class LayerSurvey(QObject):
    """Runs one survey at a time; starting another cancels it.

    Signals: `started()`, `measured(LayerRow)`…, `progressed(Progressed)`…, exactly one of `succeeded(tuple[LeftOut,
    ...])`, `failed(ErrorInfo)` and `cancelled()`, then `finished()`.
    """

    started = Signal()
    measured = Signal(object)
    progressed = Signal(object)
    succeeded = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    finished = Signal()

    def __init__(self, launcher: Launcher, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._client = EngineClient("survey", launcher, "Measure again.", self)
        self._client.said.connect(self._on_said)
        self._client.failed.connect(self._on_failed)
        self._asked: int | None = None

    @property
    def is_running(self) -> bool:
        """Whether rows are still to come."""
        return self._asked is not None

    def start(self, path: str, params: tuple[QuantizationParams, ...], modules: tuple[str, ...] = ()) -> None:
        """Measure those modules, or by default all that get quantized."""
        self.cancel()
        self._asked = self._client.ask(MeasureLayers(id=0, path=path, modules=modules, params=params))
        self.started.emit()

    @Slot()
    def cancel(self) -> None:
        """End the survey and its engine, because a cancel would wait for the current matrix."""
        if self._asked is not None:
            self._end(self.cancelled)

    def close(self) -> None:
        """End the engine, now, without further signals."""
        self._asked = None
        self._client.close()

    @Slot(int, object)
    def _on_said(self, command_id: int, event: Event) -> None:
        if command_id != self._asked:
            return
        if isinstance(event, LayerMeasured):
            self.measured.emit(event.row)
        elif isinstance(event, Progressed):
            self.progressed.emit(event)
        elif isinstance(event, LayersMeasured):
            self._end(self.succeeded, event.left_out)

    @Slot(int, object)
    def _on_failed(self, command_id: int, error: ErrorInfo) -> None:
        if command_id == self._asked:
            self._end(self.failed, error)

    def _end(self, how: SignalInstance, *what: object) -> None:
        self._asked = None
        self._client.end()  # frees the libraries' memory; nothing in it is needed again
        how.emit(*what)
        self.finished.emit()
