"""Finding out whether this machine can do what the program needs, with engines that try it."""

import traceback

from msgspec.structs import replace
from PySide6.QtCore import QObject, QThread, QTimer, Signal, SignalInstance, Slot

from qplayground.core.diagnosis import CudaBuild, Diagnosis, Facts, MethodCheck, Outcome
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.known_problems import find_problems
from qplayground.core.messages import (
    CheckedUp,
    CheckStarted,
    CheckUp,
    CudaFound,
    Event,
    Failed,
    Hello,
    Machine,
    MethodChecked,
)
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.runtime.launcher import Launcher
from qplayground.runtime.this_machine import gather_facts, who_is_here
from qplayground.runtime.worker import ChildWorker

SILENCE_MS = 120_000
"""An engine that says nothing for so long hangs; importing its libraries from a slow disk takes up to half of it."""
QUANTIZED = tuple(precision for precision in READY_PRECISIONS if precision.is_quantized)
_CLOSE_WAIT_MS = 10_000


class _Gathering(QThread):
    """Looks at the machine off the main thread: a folder can be on a slow disk."""

    gathered = Signal(object)

    def run(self) -> None:
        try:
            self.gathered.emit(gather_facts())
        except Exception as error:  # whatever it is, somebody waits to hear that it is over
            traceback.print_exc()
            self.gathered.emit(error)


class Doctor(QObject):
    """Gathers the facts, and has engines try each method; one that ends in the attempt is a finding, and another
    engine goes on with the next.

    Signals: `started()`, `progressed(label, done, total)`…, exactly one of `succeeded(Diagnosis)`,
    `failed(ErrorInfo)` and `cancelled()`, then `finished()`.
    """

    started = Signal()
    progressed = Signal(str, int, int)
    succeeded = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    finished = Signal()

    def __init__(
        self, launcher: Launcher, precisions: tuple[Precision, ...] = QUANTIZED, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._launcher = launcher
        self._precisions = precisions
        self._worker: ChildWorker | None = None
        self._gathering: _Gathering | None = None
        self._running = self._cancelled = self._closed = False
        self._asked = 0
        self._silence = QTimer(self, singleShot=True, interval=SILENCE_MS)
        self._silence.timeout.connect(self._on_silence)
        self._forget()

    @property
    def is_running(self) -> bool:
        """Whether a check is under way."""
        return self._running

    @Slot()
    def start(self) -> None:
        """Begin, unless a check is under way already."""
        if self._running or self._closed:
            return
        self._running, self._cancelled = True, False
        self._forget()
        self.started.emit()
        self.progressed.emit("starting an engine", 0, 0)
        if self._gathering is None:  # one that was given up may still be at it
            self._gathering = _Gathering(self)
            self._gathering.gathered.connect(self._on_gathered)
            self._gathering.finished.connect(self._gathering.deleteLater)
            self._gathering.start()
        self._ask()

    @Slot()
    def cancel(self) -> None:
        """End what is under way; `cancelled` follows."""
        if not self._running:
            return
        self._cancelled = True
        if self._worker is not None:
            self._worker.end()
        else:
            self._end(self.cancelled)

    def close(self) -> None:
        """End everything, now, and say nothing more."""
        self._closed, self._running = True, False
        self._silence.stop()
        self._worker = None
        for worker in self.findChildren(ChildWorker):
            worker.end()
            worker.wait(_CLOSE_WAIT_MS)
        for gathering in self.findChildren(_Gathering):
            gathering.wait(_CLOSE_WAIT_MS)

    # ---- one engine after another ----------------------------------------------------------------------------

    def _forget(self) -> None:
        self._facts: Facts | None = None
        self._machine: Machine | None = None
        self._cuda: CudaBuild | None = None
        self._checks: list[MethodCheck] = []
        self._in_work: CheckStarted | None = None
        self._engine_error: ErrorInfo | None = None
        self._tried = False

    def _ask(self) -> None:
        self._asked += 1
        self._in_work = None
        known = tuple((check.device, check.precision) for check in self._checks)
        command = CheckUp(id=self._asked, precisions=self._precisions, skip=known)
        self._worker = worker = ChildWorker("doctor", self._launcher.engine, self, first_command=command)
        worker.event_received.connect(self._on_event)
        worker.exited.connect(self._on_exited)
        worker.finished.connect(worker.deleteLater)
        self._silence.start()
        worker.start()

    @Slot(str, object)
    def _on_event(self, _name: str, event: Event) -> None:
        if self._worker is None or self.sender() is not self._worker:
            return
        self._silence.start()
        if isinstance(event, Hello):
            self._machine = event.machine
        elif event.command_id != self._asked:
            return
        elif isinstance(event, CudaFound):
            self._cuda = event.cuda
        elif isinstance(event, CheckStarted):
            self._in_work = event
            self.progressed.emit(f"{self._label(event.precision)} on {event.device}", event.done, event.total)
        elif isinstance(event, MethodChecked):
            self._in_work = None
            self._checks.append(event.check)
        elif isinstance(event, CheckedUp | Failed):
            self._tried = True
            self._engine_error = event.error if isinstance(event, Failed) else None
            self._worker.end()

    @Slot()
    def _on_silence(self) -> None:
        if self._worker is not None:
            self._worker.end()

    @Slot(str, object)
    def _on_exited(self, _name: str, error: ErrorInfo | None) -> None:
        if self._worker is None or self.sender() is not self._worker:
            return
        self._worker = None
        self._silence.stop()
        if self._cancelled:
            self._end(self.cancelled)
            return
        if not self._tried:
            error = error or _hung()
            if self._in_work is not None:
                self._checks.append(self._ended_in(self._in_work, error))
                self._ask()
                return
            self._engine_error = error
            self._tried = True
        self._complete()

    def _ended_in(self, work: CheckStarted, error: ErrorInfo) -> MethodCheck:
        return MethodCheck(
            precision=work.precision,
            label=self._label(work.precision),
            device=work.device,
            outcome=Outcome.FAILED,
            problem=error.message,
            detail=error.detail,
        )

    def _label(self, name: str) -> str:
        return next((precision.label for precision in self._precisions if precision.name == name), name)

    # ---- the end ---------------------------------------------------------------------------------------------

    @Slot(object)
    def _on_gathered(self, facts: Facts | Exception) -> None:
        self._gathering = None
        if not self._running or self._cancelled:
            return
        if isinstance(facts, Exception):
            self._cancelled = True
            if self._worker is not None:
                self._worker.end()
            sentence = "This machine cannot be looked at."
            self._end(
                self.failed,
                ErrorInfo(ErrorCode.INTERNAL, sentence, "Please report it.", who_is_here().apply(repr(facts))),
            )
            return
        self._facts = facts
        self._complete()

    def _complete(self) -> None:
        """Once both are there, tell it."""
        if self._facts is None or not self._tried:
            return
        facts, machine, redaction = self._facts, self._machine, who_is_here()
        if machine is not None:
            cpu = replace(facts.cpu, capability=machine.cpu_capability, threads=machine.cpu_threads)
            facts = replace(facts, cpu=cpu, mps=machine.mps)
        facts = replace(
            facts,
            cuda=self._cuda,
            checks=tuple(
                replace(check, problem=redaction.apply(check.problem), detail=redaction.apply(check.detail))
                for check in self._checks
            ),
        )
        error = self._engine_error
        if error is not None:
            error = replace(error, message=redaction.apply(error.message), detail=redaction.apply(error.detail))
            facts = replace(facts, engine_error=error)
        self._end(self.succeeded, Diagnosis(facts, find_problems(facts)))

    def _end(self, how: SignalInstance, *what: object) -> None:
        self._running = False
        how.emit(*what)
        self.finished.emit()


def _hung() -> ErrorInfo:
    return ErrorInfo(
        ErrorCode.ENGINE_DIED,
        f"The engine said nothing for {SILENCE_MS // 1000} seconds and was ended.",
        "Try again when nothing else keeps the machine busy.",
    )
