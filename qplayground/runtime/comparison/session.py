"""The session: owner of the current comparison, for the window and the command line.

Longer than most modules, because every change to a comparison goes through its one owner.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import assert_never

from msgspec.structs import replace
from PySide6.QtCore import QObject, Signal, Slot

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.baseline import default_baseline, refresh_divergence
from qplayground.core.comparison.results import Comparison, Mode, Run, RunState
from qplayground.core.errors import ErrorCode, ErrorInfo, fail
from qplayground.core.memory.estimate import Estimate
from qplayground.core.memory.process_memory import MemorySample
from qplayground.core.messages.events import (
    Failed,
    Generated,
    Hello,
    Loaded,
    LoadEstimated,
    PhaseStarted,
    Progressed,
    PromptRead,
    RunEvent,
    Scored,
    TokensGenerated,
)
from qplayground.core.model import ModelEntry
from qplayground.core.precision import Precision
from qplayground.core.system.machine import Machine
from qplayground.runtime.clients.engine_client import EngineClient
from qplayground.runtime.comparison import bookkeeping
from qplayground.runtime.comparison.conductor import Conductor
from qplayground.runtime.comparison.plan import Plan, RunPlan
from qplayground.runtime.comparison.request import ComparisonRequest, check_devices
from qplayground.runtime.machine.this_machine import find_redaction
from qplayground.runtime.processes.launcher import Launcher


class Session(QObject):
    """Owns the comparison and stores what the engines report. Belongs to the thread that made it.

    Signals of a run, with its id first:

    - `run_changed(name)`: its state or figures.
    - `run_cleared(name)`: its text is cleared; it generates again.
    - `tokens_added(name, tuple[Token])`
    - `phase_started(name, PhaseStarted)`, `progressed(name, Progressed)`
    - `fit_known(name, Fit)`: before the first weight of a load.
    - `memory_sampled(name, list[MemorySample])`
    - `unloading(name, PhaseStarted)`

    Signals of the whole:

    - `comparison_started(Comparison)`
    - `comparison_changed(Comparison)`: runs were added, removed or moved, or the baseline changed.
    - `comparison_finished(Comparison)`: whenever nothing is left to do.
    - `busy_changed(bool)`
    - `loaded_changed(dict[str, int | None])`: see `loaded`.
    - `machine_known(Hello)` or `machine_unknown(ErrorInfo)`: after a probe.
    - `log_added(str)`
    """

    comparison_started = Signal(object)
    comparison_changed = Signal(object)
    comparison_finished = Signal(object)
    busy_changed = Signal(bool)
    loaded_changed = Signal(object)
    run_changed = Signal(str)
    run_cleared = Signal(str)
    tokens_added = Signal(str, object)
    phase_started = Signal(str, object)
    progressed = Signal(str, object)
    fit_known = Signal(str, object)
    memory_sampled = Signal(str, object)
    unloading = Signal(str, object)
    machine_known = Signal(object)
    machine_unknown = Signal(object)
    log_added = Signal(str)

    def __init__(self, launcher: Launcher, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._launcher = launcher
        self._conductor = Conductor(launcher, self)
        self._conductor.greeted.connect(self._on_greeted)
        self._conductor.said.connect(self._on_said)
        self._conductor.fit_known.connect(self.fit_known)
        self._conductor.lost.connect(self._on_lost)
        self._conductor.turn_began.connect(self._on_turn_began)
        self._conductor.states_changed.connect(self._on_states_changed)
        self._conductor.finishing.connect(self._on_finishing)
        self._conductor.busy_changed.connect(self.busy_changed)
        self._conductor.loaded_changed.connect(self.loaded_changed)
        self._conductor.finished.connect(self._on_finished)
        self._conductor.memory_sampled.connect(self._on_memory_sampled)
        self._conductor.unloading.connect(self.unloading)
        self._probe = EngineClient("probe", launcher, "Start again.", self)
        self._probe.greeted.connect(self._on_probed)
        self._probe.lost.connect(self._on_machine_unknown)
        self._probe.gone.connect(self._on_probe_ended)
        self._is_probing = False
        self._comparison: Comparison | None = None
        self._shown: dict[str, Estimate] = {}  # what the user saw before each run's load
        self._hello: Hello | None = None
        self._driver_bytes: dict[str, dict[str, int]] = {}
        self._scored_text: str | None = None
        self._baseline_chosen = False
        self._over: Comparison | None = None  # the one that is finishing
        self._closed = False

    # ---- queries ---------------------------------------------------------------------------------------------

    @property
    def comparison(self) -> Comparison | None:
        """The current comparison, or the last one."""
        return self._comparison

    @property
    def is_busy(self) -> bool:
        """Whether a comparison is running."""
        return self._conductor.is_busy

    @property
    def machine(self) -> Machine | None:
        """This machine, or None until an engine has described it."""
        return None if self._hello is None else self._hello.machine

    @property
    def loaded(self) -> dict[str, int | None]:
        """Weights in bytes, if known, of each run whose model is loaded and idle; the least recently used first."""
        return self._conductor.loaded

    @property
    def held_bytes(self) -> dict[str, int]:
        """Bytes by device that the loaded and idle models would free."""
        return self._conductor.held_bytes

    @property
    def chosen_baseline(self) -> str | None:
        """The baseline that the user chose, or None while it is the widest precision by default."""
        return self._comparison.baseline if self._comparison is not None and self._baseline_chosen else None

    @property
    def started_s(self) -> float:
        """When the comparison started, in `time.monotonic` seconds."""
        return self._conductor.started_s

    # ---- verbs -----------------------------------------------------------------------------------------------

    def probe(self) -> None:
        """Have an engine describe the machine; `machine_known` or `machine_unknown` follows. Warms the launcher."""
        if not self._closed:
            self._launcher.warm()
            if not self._is_probing:
                self._is_probing = True
                self._probe.begin()

    def compare(
        self, model: ModelEntry, wanted: ComparisonRequest, shown: Mapping[str, Estimate] | None = None
    ) -> None:
        """Start a comparison. `shown`: estimates by run that the user saw.

        The loads are compared with them, and they decide whether loaded models can stay.

        Raises PlaygroundError, and changes nothing, if it cannot start.
        """
        if self._closed or self.is_busy:
            raise fail(ErrorCode.BAD_SETTINGS, "A comparison is running.", "Stop it first.")
        wanted.check()
        if self.machine is not None:
            check_devices(wanted.placement, self.machine)
        comparison = wanted.comparison(model, self.machine, datetime.now(UTC))
        for run in comparison.runs:
            self._expect(run, shown.get(run.id) if shown else None)
        self._comparison = comparison
        self._scored_text = None if wanted.quality is None else wanted.quality.name
        self._baseline_chosen = wanted.baseline is not None
        baseline = comparison.baseline_run
        plan = Plan(
            runs=tuple(map(RunPlan.of, comparison.runs)),
            placement=comparison.placement,
            request=wanted.request,
            mode=comparison.mode,
            rounds=comparison.rounds,
            quality=wanted.quality,
            reference=None if baseline is None else RunPlan.of(baseline),
        )
        self._conductor.prepare(plan, shown or {})
        self.comparison_started.emit(comparison)
        self._conductor.begin()

    def run_again(self, name: str, shown: Estimate | None = None) -> None:
        """Run one precision again; the others keep their results. Does nothing while that run is in progress.

        `shown`: the estimate that the user saw. The load is compared with it, and it decides whether loaded models
        can stay.
        """
        comparison, run = self._comparison, self._run(name)
        if comparison is None or run is None or self._closed or not run.state.is_final:
            return
        bookkeeping.clear(run)
        self._expect(run, shown)
        refresh_divergence(comparison)
        self._conductor.queue(RunPlan.of(run), shown)
        self.run_cleared.emit(name)
        self._conductor.begin()

    def add(self, precision: Precision, estimate: Estimate | None = None) -> None:
        """Add a precision to the comparison and run it; the others keep their results.

        `estimate` decides whether loaded models can stay. Raises PlaygroundError if there is no comparison, or it
        already has a precision of that name.
        """
        comparison = self._comparison
        if comparison is None or self._closed:
            raise fail(ErrorCode.BAD_SETTINGS, "There is no comparison to add to.", "Press Compare.")
        precision.checked()
        if self._run(precision.name) is not None:
            raise fail(ErrorCode.BAD_PRECISION, f"{precision.label} is in this comparison.", "Run it again there.")
        model = comparison.runs[0].model
        run = Run(id=precision.name, model=model, precision=precision, engine=comparison.runs[0].engine)
        self._expect(run, estimate)
        comparison.runs.append(run)
        self._choose_baseline()
        self._conductor.queue(RunPlan.of(run), estimate)
        self.comparison_changed.emit(comparison)
        self._conductor.begin()

    def remove(self, name: str) -> None:
        """Remove a final run from the comparison. Does nothing for one in progress, or for the last one."""
        comparison, run = self._comparison, self._run(name)
        if comparison is None or run is None or self._closed or not run.state.is_final or len(comparison.runs) < 2:
            return
        comparison.runs.remove(run)
        if comparison.baseline == name:
            self._baseline_chosen = False
        self._choose_baseline()
        self._conductor.remove(name)
        self.comparison_changed.emit(comparison)

    def move(self, name: str, place: int) -> None:
        """Move a run to another position, from 0; positions beyond the ends mean the ends."""
        comparison, run = self._comparison, self._run(name)
        if comparison is not None and run is not None:
            comparison.runs.remove(run)
            comparison.runs.insert(max(0, place), run)
            self.comparison_changed.emit(comparison)

    def set_baseline(self, name: str) -> None:
        """Make that run the baseline."""
        comparison = self._comparison
        if comparison is not None and self._run(name) is not None and comparison.baseline != name:
            self._baseline_chosen = True
            comparison.baseline = name
            refresh_divergence(comparison)
            self.comparison_changed.emit(comparison)

    def set_keep_loaded(self, keep: bool) -> None:
        """Set whether engines keep their models after a run, if they fit. Turning it off ends the idle ones."""
        self._conductor.set_keep_loaded(keep)

    def unload(self, name: str) -> None:
        """End an idle engine that has its model loaded; does nothing for a busy one."""
        self._conductor.unload(name)

    def stop(self) -> None:
        """Stop the comparison in every phase; `comparison_finished` follows within a second."""
        self._conductor.stop()

    def close(self) -> None:
        """End every engine and thread, now."""
        self._closed = True
        self._conductor.close()
        self._probe.close()
        self._launcher.close()

    # ---- what the engines say --------------------------------------------------------------------------------

    @Slot(str, object)
    def _on_greeted(self, name: str, hello: Hello) -> None:
        self._note_lacks(name)
        self._note_machine(hello)

    @Slot(str, int, object)
    def _on_turn_began(self, name: str, others: int, event: Loaded) -> None:
        _, run = self._current(name)
        run.beside = others
        self._note_lacks(name)  # a kept engine greeted an earlier comparison
        if run.token_ids:
            bookkeeping.clear_text(run)
            self.run_cleared.emit(name)
        if run.load.seconds is None:
            bookkeeping.record_loaded(run, event, kept=True, shown=self._shown.get(name))

    @Slot(str, object)
    def _on_said(self, name: str, event: RunEvent) -> None:
        comparison, run = self._current(name)
        repeated = comparison.mode is Mode.BENCHMARK
        match event:
            case PhaseStarted():
                self.phase_started.emit(name, event)
            case Progressed():
                self.progressed.emit(name, event)
            case Loaded():
                bookkeeping.record_loaded(run, event, repeated=repeated, shown=self._shown.get(name))
                self.run_changed.emit(name)
            case PromptRead():
                run.prompt_tokens = len(event.token_ids)
                run.prompt_in_parts = event.in_parts
            case TokensGenerated():
                bookkeeping.record_tokens(run, event)
                self.tokens_added.emit(name, event.tokens)
            case Generated():
                counts = not (repeated and event.finish_reason == "cancelled")
                driver = self._driver_bytes.get(name, {})
                bookkeeping.record_generated(run, event, driver=driver, repeated=repeated, counts=counts)
            case Scored():
                bookkeeping.record_scored(run, event)
                is_reference = name == comparison.baseline or event.quality.reference is None
                if event.evaluation is not None and (comparison.evaluation is None or is_reference):
                    comparison.evaluation = event.evaluation
                self.run_changed.emit(name)
            case Failed(error=error):
                detail = f"Model: {run.model.id}\n\n{error.detail}".rstrip()
                run.error = replace(error, detail=find_redaction().apply(detail))  # it is saved and exported
                self.log_added.emit(f"{name}: {run.error} {run.error.detail}".rstrip())
            case LoadEstimated():
                pass  # the conductor emits `fit_known` instead
            case _:
                assert_never(event)

    @Slot(str, object)
    def _on_lost(self, name: str, error: ErrorInfo) -> None:
        self.log_added.emit(f"{name}, loaded and idle: {error} {error.detail}".rstrip())

    @Slot()
    def _on_states_changed(self) -> None:
        comparison = self._comparison
        for run in [] if comparison is None else list(comparison.runs):
            state = self._conductor.state(run.id)
            if state is None or run.state is state or comparison is None:
                continue
            before, run.state = run.state, state
            if state is RunState.CANCELLED and run.finish_reason is None and before is not RunState.QUEUED:
                run.finish_reason = "cancelled"
            text_is_whole = state is RunState.DONE or (state is RunState.CANCELLED and before is RunState.SCORING)
            if text_is_whole and self._scored_text is not None and run.quality is None:
                bookkeeping.note_unscored(run, self._scored_text)
            if state.is_final:
                refresh_divergence(comparison)
            self.run_changed.emit(run.id)

    @Slot(str, object)
    def _on_memory_sampled(self, name: str, samples: list[MemorySample]) -> None:
        self._driver_bytes[name] = samples[-1].vram
        self.memory_sampled.emit(name, samples)

    @Slot()
    def _on_finishing(self) -> None:
        comparison = self._over = self._comparison
        if self._choose_baseline():
            self.comparison_changed.emit(comparison)

    @Slot()
    def _on_finished(self) -> None:
        self.comparison_finished.emit(self._over)

    def _choose_baseline(self) -> bool:
        """Unless the user chose it, take the widest precision; at the end, the widest that ran. True if it changed."""
        comparison = self._comparison
        assert comparison is not None
        before = comparison.baseline
        if not self._baseline_chosen:
            comparison.baseline = default_baseline(comparison)
        refresh_divergence(comparison)
        return comparison.baseline != before

    def _note_lacks(self, name: str) -> None:
        run = self._run(name)
        if run is not None:
            run.lacks = {each.value: reason for each, reason in self._conductor.lacks(name).items()}
            if Capability.PREDICTION in run.lacks:
                self._expect(run, None)  # the estimate shown was for another engine

    def _expect(self, run: Run, shown: Estimate | None) -> None:
        run.requested_map = {} if shown is None else shown.device_map
        self._shown.pop(run.id, None)
        if shown is not None:
            self._shown[run.id] = shown

    def _current(self, name: str) -> tuple[Comparison, Run]:
        """The current comparison, and the run that an engine's event names."""
        assert self._comparison is not None
        return self._comparison, self._comparison.run(name)

    def _run(self, name: str) -> Run | None:
        return None if self._comparison is None else self._comparison.find(name)

    # ---- the machine -----------------------------------------------------------------------------------------

    @Slot(object)
    def _on_probed(self, hello: Hello) -> None:
        self._probe.end()
        self._note_machine(hello)

    @Slot(object)
    def _on_machine_unknown(self, error: ErrorInfo) -> None:
        self.log_added.emit(f"No engine could be started. {error} {error.detail}".rstrip())
        self.machine_unknown.emit(error)

    @Slot()
    def _on_probe_ended(self) -> None:
        self._is_probing = False
        if not self._closed and not self.is_busy:
            self._launcher.warm()  # the probe may have used the spare

    def _note_machine(self, hello: Hello) -> None:
        first = self._hello is None
        self._hello = hello
        if self._comparison is not None and self._comparison.environment is None:
            self._comparison.environment = hello.machine
        if first:
            self.machine_known.emit(hello)
