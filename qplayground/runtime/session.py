"""The session: owner of the comparison in work, for the window and the command line alike."""

import time
from collections.abc import Sequence

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from qplayground.core.errors import ErrorCode, ErrorInfo, fail
from qplayground.core.generation import GenerationRequest
from qplayground.core.messages import (
    Cancel,
    Event,
    Failed,
    Generate,
    Generated,
    Hello,
    Load,
    Loaded,
    Machine,
    PhaseStarted,
    Progressed,
    PromptRead,
    TokensGenerated,
)
from qplayground.core.model import ModelEntry
from qplayground.core.precision import Precision, baseline_of
from qplayground.core.results import ComparedModel, Comparison, Run, RunState
from qplayground.core.text import is_text
from qplayground.runtime.launcher import Launcher
from qplayground.runtime.sampler import Sampler
from qplayground.runtime.scheduler import Action, Happened, Scheduler, Verb
from qplayground.runtime.worker import ChildWorker

STOP_GRACE_MS = 400
CLOSE_WAIT_MS = 2000


class Session(QObject):
    """Carries out what the scheduler decides and keeps the results. Belongs to the thread that made it.

    Signals, all with the precision's name first: `run_changed(name)` (its state or figures), `tokens_added(name,
    tuple[Token])`, `phase_started(name, PhaseStarted)`, `progressed(name, Progressed)`, `memory_sampled(name,
    list[MemorySample])`. And `comparison_started(Comparison)`, `comparison_finished(Comparison)`, `log_added(str)`,
    and after a probe either `machine_known(Hello)` or `machine_unknown(ErrorInfo)`.
    """

    comparison_started = Signal(object)
    comparison_finished = Signal(object)
    run_changed = Signal(str)
    tokens_added = Signal(str, object)
    phase_started = Signal(str, object)
    progressed = Signal(str, object)
    memory_sampled = Signal(str, object)
    machine_known = Signal(object)
    machine_unknown = Signal(object)
    log_added = Signal(str)

    def __init__(self, launcher: Launcher, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._launcher = launcher
        self._sampler = Sampler(self)
        self._sampler.sampled.connect(self.memory_sampled)
        self._scheduler: Scheduler | None = None
        self._comparison: Comparison | None = None
        self._request = GenerationRequest()
        self._hello: Hello | None = None
        self._workers: dict[str, ChildWorker] = {}
        self._commands: dict[str, int] = {}
        self._last_command_id = 0
        self._probe: ChildWorker | None = None
        self.started_s = 0.0
        """When the comparison was started, in `time.monotonic` seconds."""
        self._closed = False
        self._stop_deadline = QTimer(self, singleShot=True, interval=STOP_GRACE_MS)
        self._stop_deadline.timeout.connect(self._on_stop_deadline)

    # ---- what others may ask ---------------------------------------------------------------------------------

    @property
    def comparison(self) -> Comparison | None:
        """The comparison in work, or the last one."""
        return self._comparison

    @property
    def is_busy(self) -> bool:
        """Whether a comparison is in work."""
        return self._scheduler is not None

    @property
    def machine(self) -> Machine | None:
        """This machine, once an engine has described it."""
        return None if self._hello is None else self._hello.machine

    # ---- verbs -----------------------------------------------------------------------------------------------

    def probe(self) -> None:
        """Have an engine describe the machine; `machine_known` or `machine_unknown` follows. Warms the launcher."""
        self._launcher.warm()
        worker = ChildWorker("probe", self._launcher.engine, self)
        worker.event_received.connect(self._on_probe_event)
        worker.exited.connect(self._on_probe_exited)
        self._probe = worker
        worker.start()

    def compare(
        self, model: ModelEntry, precisions: Sequence[Precision], request: GenerationRequest, device: str = "auto"
    ) -> None:
        """Start a comparison. Raises PlaygroundError, and changes nothing, when it cannot be started."""
        if self.is_busy:
            raise fail(ErrorCode.BAD_SETTINGS, "A comparison is running.", "Stop it first.")
        if model.problem is not None:
            raise fail(model.problem.code, model.problem.message, model.problem.hint, model.problem.detail)
        if model.path is None or not model.complete:
            raise fail(ErrorCode.INCOMPLETE_DOWNLOAD, f"{model.title} is not complete yet.", "Wait, or pick another.")
        if not precisions:
            raise fail(ErrorCode.BAD_PRECISION, "No precision is ticked.", "Tick one or more.")
        error = request.error()
        if error is not None:
            raise error
        if not is_text(f"{request.prompt}{model.path}{device}"):
            raise fail(
                ErrorCode.BAD_SETTINGS,
                "The prompt or the model's path holds bytes that are no text.",
                "Type the prompt again, or rename the folder.",
            )
        recipes = [precision.checked() for precision in precisions]
        names = [precision.name for precision in recipes]
        if len(set(names)) != len(names):
            raise fail(ErrorCode.BAD_PRECISION, "A precision is named twice.", "Name each one once.")
        self._request = request
        self.started_s = time.monotonic()
        self._comparison = Comparison(
            environment=self.machine,
            model=ComparedModel(
                model.id, model.source, model.architecture, model.parameters, model.path, model.provenance
            ),
            prompt=request.prompt,
            settings=request.settings,
            device=device,
            baseline=baseline_of(names, tuple(recipes)),
            runs=[Run(precision=precision.name, recipe=precision) for precision in recipes],
        )
        self._scheduler = scheduler = Scheduler(names)
        self._launcher.warm()
        self._sampler.start()
        self.comparison_started.emit(self._comparison)
        self._do(scheduler.begin())  # nothing, when whoever heard that stopped it

    def stop(self) -> None:
        """Stop the comparison in every phase; `comparison_finished` follows within a second."""
        if self._scheduler is not None:
            self._do(self._scheduler.stop())
            self._show_states()
            self._finish_if_done()

    def close(self) -> None:
        """End every engine and thread, now."""
        self._closed = True
        self._stop_deadline.stop()
        self._scheduler = None
        workers = self.findChildren(ChildWorker)
        for worker in workers:
            worker.end()
        for worker in workers:
            worker.wait(CLOSE_WAIT_MS)
        self._workers.clear()
        self._sampler.stop()
        self._launcher.close()

    # ---- carrying out ----------------------------------------------------------------------------------------

    def _do(self, actions: Sequence[Action]) -> None:
        for verb, name in actions:
            if verb is Verb.START:
                self._start(name)
            elif verb is Verb.LOAD:
                run, comparison = self._run(name), self._comparison
                assert comparison is not None
                self._submit(
                    name,
                    Load(
                        id=self._new_id(name),
                        path=comparison.model.path,
                        precision=run.recipe,
                        device=comparison.device,
                        request=self._request,
                    ),
                )
            elif verb is Verb.GENERATE:
                self._submit(name, Generate(id=self._new_id(name), request=self._request))
            elif verb is Verb.ASK_TO_STOP:
                self._submit(name, Cancel(self._commands[name]))
                if not self._stop_deadline.isActive():  # asking again gives no more time
                    self._stop_deadline.start()
            else:
                self._workers[name].end()

    def _start(self, name: str) -> None:
        worker = ChildWorker(name, self._launcher.engine, self)
        worker.event_received.connect(self._on_event)
        worker.exited.connect(self._on_exited)
        worker.finished.connect(worker.deleteLater)
        self._workers[name] = worker
        self._show_states()
        worker.start()

    def _submit(self, name: str, command: Load | Generate | Cancel) -> None:
        self._workers[name].submit(command)  # a worker without a child says so itself, through `exited`
        self._show_states()

    def _new_id(self, name: str) -> int:
        self._last_command_id += 1
        self._commands[name] = self._last_command_id
        return self._last_command_id

    # ---- what workers say ------------------------------------------------------------------------------------

    @Slot(str, object)
    def _on_event(self, name: str, event: Event) -> None:
        if self._scheduler is None:
            return
        if isinstance(event, Hello):
            self._note_machine(event)
            self._sampler.watch(name, event.pid)
            self._happened(name, Happened.HELLO)
        elif event.command_id == self._commands.get(name):  # anything else is late
            self._take(name, event)

    def _take(self, name: str, event: Event) -> None:
        run = self._run(name)
        if isinstance(event, TokensGenerated):
            run.token_ids += (token.id for token in event.tokens)
            run.tokens += event.tokens
            run.text += "".join(token.text for token in event.tokens)
            self.tokens_added.emit(name, event.tokens)
        elif isinstance(event, Progressed):
            self.progressed.emit(name, event)
        elif isinstance(event, PhaseStarted):
            self.phase_started.emit(name, event)
        elif isinstance(event, PromptRead):
            run.prompt_tokens = len(event.token_ids)
        elif isinstance(event, Loaded):
            _take_loaded(run, event)
            self.run_changed.emit(name)
            self._happened(name, Happened.LOADED)
        elif isinstance(event, Generated):
            _take_generated(run, event)
            interrupted = event.finish_reason == "cancelled"
            self._happened(name, Happened.INTERRUPTED if interrupted else Happened.GENERATED)
        elif isinstance(event, Failed):
            self._fail(run, event.error)
            self._happened(name, Happened.FAILED)

    @Slot(str, object)
    def _on_exited(self, name: str, error: ErrorInfo | None) -> None:
        self._workers.pop(name, None)
        self._sampler.forget(name)
        if self._scheduler is None:
            return
        run = self._run(name)
        if not self._scheduler.state(name).is_final:
            self._fail(run, error or ErrorInfo(ErrorCode.ENGINE_DIED, "The engine ended.", "Run it again."))
        self._happened(name, Happened.EXITED)

    def _happened(self, name: str, happened: Happened) -> None:
        if self._scheduler is None:
            return
        self._do(self._scheduler.handle(name, happened))
        self._show_states()
        self._finish_if_done()

    def _fail(self, run: Run, error: ErrorInfo) -> None:
        run.error = error
        self.log_added.emit(f"{run.precision}: {error} {error.detail}".rstrip())

    def _finish_if_done(self) -> None:
        if self._scheduler is not None and self._scheduler.is_finished and not self._workers:
            self._stop_deadline.stop()
            self._scheduler = None
            if not self._closed:
                self._launcher.warm()  # only now, when nothing is timed any more
            self.comparison_finished.emit(self._comparison)

    def _show_states(self) -> None:
        scheduler, comparison = self._scheduler, self._comparison
        if scheduler is None or comparison is None:
            return
        for run in comparison.runs:
            state = scheduler.state(run.precision)
            if run.state is not state:
                run.state = state
                if state is RunState.CANCELLED and run.finish_reason is None:
                    run.finish_reason = "cancelled"
                self.run_changed.emit(run.precision)

    @Slot()
    def _on_stop_deadline(self) -> None:
        for name in list(self._workers):
            self._happened(name, Happened.STUCK)

    def _run(self, name: str) -> Run:
        assert self._comparison is not None
        return self._comparison.run(name)

    # ---- the probe -------------------------------------------------------------------------------------------

    @Slot(str, object)
    def _on_probe_event(self, _name: str, event: Event) -> None:
        if isinstance(event, Hello):
            self._note_machine(event)
            if self._probe is not None:
                self._probe.end()

    @Slot(str, object)
    def _on_probe_exited(self, _name: str, error: ErrorInfo | None) -> None:
        if error is not None:
            self.log_added.emit(f"No engine could be started. {error} {error.detail}")
            self.machine_unknown.emit(error)
        elif self._hello is None and not self._closed:
            self.machine_unknown.emit(ErrorInfo(ErrorCode.ENGINE_DIED, "The engine said nothing.", "Start again."))
        elif not self._closed and not self.is_busy:
            self._launcher.warm()  # the probe may have used up what was there ahead of need

    def _note_machine(self, hello: Hello) -> None:
        first = self._hello is None
        self._hello = hello
        if self._comparison is not None and self._comparison.environment is None:
            self._comparison.environment = hello.machine
        if first:
            self.machine_known.emit(hello)


def _take_loaded(run: Run, event: Loaded) -> None:
    run.load.seconds = event.seconds
    run.load.other_cpus = event.other_cpus
    run.load.disk_share = event.disk_share
    run.device_map = event.device_map
    run.memory = msgspec.structs.replace(
        run.memory,
        weight_bytes=event.weight_bytes,
        resident_bytes=event.memory.resident_bytes,
        runtime_bytes=event.runtime_memory.resident_bytes,
        vram_allocated_bytes=event.vram_allocated_bytes,
    )


def _take_generated(run: Run, event: Generated) -> None:
    run.text = event.text
    run.finish_reason = event.finish_reason
    run.speed.ttft_s = event.ttft_s
    run.speed.prefill_tokens_per_s = event.prefill_tokens_per_s
    run.speed.held_s = event.held_s
    run.speed.decode_tokens_per_s = event.decode_tokens_per_s
    run.speed.other_cpus = event.other_cpus
    run.memory = msgspec.structs.replace(
        run.memory,
        weight_bytes=event.weight_bytes,
        resident_bytes=event.memory.resident_bytes,
        peak_resident_bytes=event.peak_resident_bytes,
        vram_allocated_bytes=event.vram_allocated_bytes,
        vram_peak_bytes=event.vram_peak_bytes,
    )
