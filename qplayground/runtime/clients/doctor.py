"""Checks whether this machine can run what the program needs, by trying it in engines."""

from msgspec.structs import replace
from PySide6.QtCore import QObject, Signal, SignalInstance, Slot

from qplayground.core.commentary.known_problems import find_problems
from qplayground.core.diagnosis.diagnosis import CudaBuild, Diagnosis, Facts, MethodCheck, Outcome
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.messages.commands import CheckUp
from qplayground.core.messages.events import CheckedUp, CheckStarted, CudaFound, Event, Hello, MethodChecked
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers.installed import missing
from qplayground.core.system.machine import Machine
from qplayground.runtime.clients.engine_client import EngineClient
from qplayground.runtime.machine.this_machine import find_redaction, gather_facts
from qplayground.runtime.processes.background import Background
from qplayground.runtime.processes.launcher import Launcher

QUANTIZED = tuple(each for each in READY_PRECISIONS if each.is_quantized and missing(each.quantization) is None)
_CLOSE_WAIT_MS = 10_000


class Doctor(QObject):
    """Gathers facts, and has engines try each method. A crash in a try is a finding; a new engine continues.

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
        self._precisions = precisions
        self._client = EngineClient("doctor", launcher, "Try again when the machine is not busy.", self)
        self._client.greeted.connect(self._on_greeted)
        self._client.said.connect(self._on_said)
        self._client.failed.connect(self._on_failed)
        self._client.lost.connect(self._on_lost)
        self._gathering: Background | None = None
        self._running = self._closed = False
        self._asked = 0
        self._forget()

    @property
    def is_running(self) -> bool:
        """Whether a check is running."""
        return self._running

    @Slot()
    def start(self) -> None:
        """Start, unless a check is running."""
        if self._running or self._closed:
            return
        self._running = True
        self._forget()
        self.started.emit()
        self.progressed.emit("starting an engine", 0, 0)
        if self._gathering is None:  # one from a cancelled check may still run
            self._gathering = Background(gather_facts, self)
            self._gathering.done.connect(self._on_gathered)
            self._gathering.finished.connect(self._gathering.deleteLater)
            self._gathering.start()
        self._ask()

    @Slot()
    def cancel(self) -> None:
        """End the check; `cancelled` follows. It can be started again at once."""
        if self._running:
            self._client.end()
            self._end(self.cancelled)

    def close(self) -> None:
        """End everything, now, without further signals."""
        self._closed, self._running = True, False
        self._client.close()
        for gathering in self.findChildren(Background):
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
        self._in_work = None
        known = tuple((check.device, check.precision) for check in self._checks)
        self._asked = self._client.ask(CheckUp(id=0, precisions=self._precisions, skip=known))

    @Slot(object)
    def _on_greeted(self, hello: Hello) -> None:
        self._machine = hello.machine

    @Slot(int, object)
    def _on_said(self, _command_id: int, event: Event) -> None:
        if isinstance(event, CudaFound):
            self._cuda = event.cuda
        elif isinstance(event, CheckStarted):
            self._in_work = event
            self.progressed.emit(f"{self._label(event.precision)} on {event.device}", event.done, event.total)
        elif isinstance(event, MethodChecked):
            self._in_work = None
            self._checks.append(event.check)
        elif isinstance(event, CheckedUp):
            self._stop_trying(None)

    @Slot(int, object)
    def _on_failed(self, command_id: int, error: ErrorInfo) -> None:
        if command_id == self._asked and not self._tried:  # otherwise the engine is gone, and `_on_lost` handled it
            self._stop_trying(error)

    @Slot(object)
    def _on_lost(self, error: ErrorInfo) -> None:
        if self._in_work is not None:
            self._checks.append(self._ended_in(self._in_work, error))
            self._ask()
        else:
            self._stop_trying(error)

    def _stop_trying(self, error: ErrorInfo | None) -> None:
        self._client.end()
        self._tried, self._engine_error = True, error
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
        if not self._running:
            return
        if isinstance(facts, Exception):
            self._client.end()
            sentence = "This machine cannot be checked."
            self._end(
                self.failed,
                ErrorInfo(ErrorCode.INTERNAL, sentence, "Please report it.", find_redaction().apply(repr(facts))),
            )
            return
        self._facts = facts
        self._complete()

    def _complete(self) -> None:
        """Report the diagnosis once facts and checks are both there."""
        if self._facts is None or not self._tried:
            return
        facts, machine, redaction = self._facts, self._machine, find_redaction()
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
