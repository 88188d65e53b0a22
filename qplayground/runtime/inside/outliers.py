"""Outlier input dimensions of a layer on a prompt: what keeping them in 16 bits gains and costs."""

from PySide6.QtCore import QObject, Signal, Slot

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorInfo
from qplayground.core.generation import GenerationRequest
from qplayground.core.messages.events import Event, Progressed
from qplayground.core.messages.inside import CaptureInputs, InputsCaptured, ThresholdTried, TryThreshold
from qplayground.runtime.clients.engine_client import EngineClient
from qplayground.runtime.processes.launcher import Launcher


class OutlierStudy(QObject):
    """Owner of an engine that runs a prompt once and keeps the inputs of each linear layer.

    Of several thresholds in quick succession the latest counts. Signals: `progressed(Progressed)`…, then
    `captured(InputsCaptured)`, `failed(ErrorInfo)` or `cancelled()`; `tried(ThresholdTrial)`; `busy_changed(bool)`.
    """

    progressed = Signal(object)
    captured = Signal(object)
    tried = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    busy_changed = Signal(bool)

    def __init__(self, launcher: Launcher, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._client = EngineClient("outliers", launcher, "Run the prompt again.", self)
        self._client.said.connect(self._on_said)
        self._client.failed.connect(self._on_failed)
        self._client.lost.connect(self._on_lost)
        self._capturing: int | None = None
        self._trying: int | None = None
        self._next: TryThreshold | None = None
        self._inputs: InputsCaptured | None = None

    @property
    def inputs(self) -> InputsCaptured | None:
        """The captured inputs, or None."""
        return self._inputs

    @property
    def is_capturing(self) -> bool:
        """Whether the model is loading or reads the prompt."""
        return self._capturing is not None

    def capture(self, path: str, dtype: Dtype, request: GenerationRequest) -> None:
        """Load the model in `dtype` and run it on the prompt."""
        self.unload()
        self._capturing = self._client.ask(CaptureInputs(id=0, path=path, dtype=dtype, request=request))
        self.busy_changed.emit(True)

    def try_threshold(self, module: str, threshold: float) -> None:
        """Run the layer on its inputs with that threshold. `tried` or `failed` follows."""
        self._next = TryThreshold(id=0, module=module, threshold=threshold)
        self._go_on()

    @property
    def is_trying(self) -> bool:
        """Whether a threshold is being tried."""
        return self._trying is not None

    def stop_trying(self) -> None:
        """Cancel the current threshold and the waiting one. The captured inputs stay."""
        self._next = None
        if self._trying is not None:
            self._client.stop(self._trying)
            self._trying = None

    @Slot()
    def cancel(self) -> None:
        """Cancel the capture."""
        if self.is_capturing:
            self.unload()
            self.cancelled.emit()

    def unload(self) -> None:
        """Forget everything, and free its memory."""
        was_capturing = self.is_capturing
        self._client.end()
        self._capturing = self._trying = None
        self._next = self._inputs = None
        if was_capturing:
            self.busy_changed.emit(False)

    def close(self) -> None:
        """End the engine, now, without further signals."""
        self._client.close()

    def _go_on(self) -> None:
        if self._next is not None and self._trying is None and self._inputs is not None:
            question, self._next = self._next, None
            self._trying = self._client.ask(question)

    @Slot(int, object)
    def _on_said(self, command_id: int, event: Event) -> None:
        if isinstance(event, Progressed):
            self.progressed.emit(event)
        elif isinstance(event, InputsCaptured) and command_id == self._capturing:
            self._capturing = None
            self._inputs = event
            self.busy_changed.emit(False)
            self.captured.emit(event)
        elif isinstance(event, ThresholdTried) and command_id == self._trying:
            self._trying = None
            if event.trial is not None:
                self.tried.emit(event.trial)
        self._go_on()

    @Slot(int, object)
    def _on_failed(self, command_id: int, error: ErrorInfo) -> None:
        if command_id == self._capturing:
            self._capturing = None
            self._client.end()  # frees what the failed load left behind
            self.busy_changed.emit(False)
        elif command_id == self._trying:
            self._trying = None
        else:
            return
        self.failed.emit(error)
        self._go_on()

    @Slot()
    def _on_lost(self) -> None:
        self._inputs = self._next = None
