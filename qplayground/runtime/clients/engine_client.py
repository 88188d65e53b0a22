"""An engine that answers one question after another."""

from collections import deque

from msgspec.structs import replace
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.messages.base import LastAnswer
from qplayground.core.messages.commands import Cancel, CheckUp, EstimateMemory, PlanPlacement
from qplayground.core.messages.events import Event, Failed, Hello, MemoryEstimated
from qplayground.core.messages.inside import InsideCommand
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.processes.worker import ChildWorker

SILENCE_MS = 120_000
"""An engine that owes an answer and is silent for so long hangs. Importing its libraries from a slow disk takes up to
half of it."""
_CLOSE_WAIT_MS = 10_000

Question = InsideCommand | EstimateMemory | PlanPlacement | CheckUp


class EngineClient(QObject):
    """Owner of one engine, started by the first question. Questions are answered in order.

    Signals: `greeted(Hello)` when the engine is ready. `said(command_id, Event)` for each event of an open question.
    `failed(command_id, ErrorInfo)` for a question without an answer; `hint` is the advice then. `lost(ErrorInfo)` when
    the engine ended by itself, with everything it held. `gone()` after each engine, however it ended.
    """

    greeted = Signal(object)
    said = Signal(int, object)
    failed = Signal(int, object)
    lost = Signal(object)
    gone = Signal()

    def __init__(self, name: str, launcher: Launcher, hint: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._name = name
        self._launcher = launcher
        self._hint = hint
        self._worker: ChildWorker | None = None
        self._hello: Hello | None = None
        self._hung = self._closed = False
        self._waiting: deque[Question] = deque()
        self._open: set[int] = set()
        self._asked = 0
        self.silence = QTimer(self, singleShot=True, interval=SILENCE_MS)
        """Ends an engine that owes an answer and is silent for this long. A new interval takes effect at once."""
        self.silence.timeout.connect(self._on_silence)

    @property
    def hello(self) -> Hello | None:
        """The engine's hello, or None without an engine."""
        return self._hello

    @property
    def is_busy(self) -> bool:
        """Whether a question is unanswered."""
        return bool(self._open)

    def begin(self) -> None:
        """Start the engine without a question, to learn about the machine. `greeted` or `lost` follows."""
        if self._worker is not None or self._closed:
            return
        self._worker = worker = ChildWorker(self._name, self._launcher.engine, self)
        worker.event_received.connect(self._on_event)
        worker.exited.connect(self._on_exited)
        worker.finished.connect(worker.deleteLater)
        self.silence.start()
        worker.start()

    def ask(self, command: Question) -> int:
        """Send a question and return its id, which the answers carry. After `close` there are no answers."""
        self._asked += 1
        if self._closed:
            return self._asked
        self._open.add(self._asked)
        self._waiting.append(replace(command, id=self._asked))
        if self._hello is None:
            self.begin()
        else:
            self._submit()
        return self._asked

    def stop(self, command_id: int) -> None:
        """Ask for an early answer; the engine keeps what it holds. Does nothing if none is owed."""
        if self._worker is not None and command_id in self._open:
            self._worker.submit(Cancel(command_id))

    def end(self) -> None:
        """End the engine; open questions get no answer. The next question starts another engine."""
        self.silence.stop()
        self._hung = False
        self._waiting.clear()
        self._open.clear()
        worker, self._worker = self._worker, None
        self._hello = None
        if worker is not None:
            worker.end()

    def close(self) -> None:
        """End everything, now, without further signals."""
        self._closed = True
        self.end()
        for worker in self.findChildren(ChildWorker):
            worker.end()
            worker.wait(_CLOSE_WAIT_MS)

    def _submit(self) -> None:
        assert self._worker is not None
        while self._waiting:
            self._worker.submit(self._waiting.popleft())
        if self._open:
            self.silence.start()

    @Slot(str, object)
    def _on_event(self, _name: str, event: Event) -> None:
        if self._worker is None or self.sender() is not self._worker:
            return
        self.silence.start()
        if isinstance(event, Hello):
            self._hello = event
            self._submit()
            self.greeted.emit(event)
        elif event.command_id in self._open:
            if _is_last(event):
                self._open.discard(event.command_id)
            if isinstance(event, Failed):
                self.failed.emit(event.command_id, event.error)
            else:
                self.said.emit(event.command_id, event)
        if not self._open:
            self.silence.stop()

    @Slot()
    def _on_silence(self) -> None:
        if self._worker is not None:
            self._hung = True
            self._worker.end()

    @Slot(str, object)
    def _on_exited(self, _name: str, error: ErrorInfo | None) -> None:
        if self._closed:
            return
        if self._worker is None or self.sender() is not self._worker:
            self.gone.emit()
            return
        self._worker = self._hello = None
        self.silence.stop()
        if self._hung:
            self._hung = False
            sentence = f"The engine did not answer for {self.silence.interval() / 1000:g} seconds and was ended."
            error = ErrorInfo(ErrorCode.ENGINE_DIED, sentence, self._hint)
        error = error or ErrorInfo(ErrorCode.ENGINE_DIED, "The engine ended.", self._hint)
        self._waiting.clear()
        unanswered, self._open = sorted(self._open), set()
        self.lost.emit(error)
        for command_id in unanswered:
            self.failed.emit(command_id, error)
        self.gone.emit()


def _is_last(event: Event) -> bool:
    """Whether this is the last answer to its question."""
    if isinstance(event, MemoryEstimated):
        return event.final
    return isinstance(event, LastAnswer)
