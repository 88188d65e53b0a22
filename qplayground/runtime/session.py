"""The session: owner of the comparison in work, for the window and the command line alike."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from qplayground.core.errors import ErrorCode, ErrorInfo, fail
from qplayground.core.generation import GenerationRequest
from qplayground.core.memory import MemorySample
from qplayground.core.messages import (
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
from qplayground.core.precision import Precision
from qplayground.core.results import Comparison, Mode, Run, RunState
from qplayground.runtime import bookkeeping
from qplayground.runtime.engines import Engines
from qplayground.runtime.launcher import Launcher
from qplayground.runtime.probe import Probe
from qplayground.runtime.request import ComparisonRequest
from qplayground.runtime.room import has_room_for, has_room_for_all
from qplayground.runtime.scheduler import Action, Happened, Scheduler, Verb

STOP_GRACE_MS = 400


_REFUSALS = (
    ErrorCode.EMPTY_PROMPT,
    ErrorCode.BAD_SETTINGS,
    ErrorCode.PROMPT_TOO_LONG,
    ErrorCode.NO_CHAT_TEMPLATE,
)
"""Said before the model is touched, so that a kept one stays as good as it was."""


class _Kept(msgspec.Struct, frozen=True):
    """What an engine holds, and how it came there."""

    path: str
    device: str
    recipe: Precision
    event: Loaded


class Session(QObject):
    """Carries out what the scheduler decides and keeps the results. Belongs to the thread that made it.

    Signals, the first ones with the precision's name first: `run_changed(name)` (its state or figures),
    `run_cleared(name)` (what it wrote is no more; it writes again), `tokens_added(name, tuple[Token])`,
    `phase_started(name, PhaseStarted)`, `progressed(name, Progressed)`, `memory_sampled(name, list[MemorySample])`.
    `comparison_started(Comparison)`; `comparison_changed(Comparison)` when runs came, went or moved or the baseline is
    another; `busy_changed(bool)`; `comparison_finished(Comparison)` whenever nothing is left to do. `log_added(str)`,
    and after a probe either `machine_known(Hello)` or `machine_unknown(ErrorInfo)`.
    """

    comparison_started = Signal(object)
    comparison_changed = Signal(object)
    comparison_finished = Signal(object)
    busy_changed = Signal(bool)
    run_changed = Signal(str)
    run_cleared = Signal(str)
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
        self._engines = Engines(launcher, self)
        self._engines.greeted.connect(self._on_greeted)
        self._engines.said.connect(self._on_said)
        self._engines.gone.connect(self._on_gone)
        self._engines.memory_sampled.connect(self._on_memory_sampled)
        self._probe = Probe(launcher, self)
        self._probe.known.connect(self._note_machine)
        self._probe.unknown.connect(self._on_machine_unknown)
        self._probe.ended.connect(self._on_probe_ended)
        self._scheduler: Scheduler | None = None
        self._comparison: Comparison | None = None
        self._request = GenerationRequest()
        self._hello: Hello | None = None
        self._kept: dict[str, _Kept] = {}
        self._keep_loaded = False
        self._baseline_chosen = False
        self._asked_to_stop: set[str] = set()
        self._busy = False
        self._closed = False
        self.started_s = 0.0
        """When the comparison was started, in `time.monotonic` seconds."""
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
        return self._busy

    @property
    def machine(self) -> Machine | None:
        """This machine, once an engine has described it."""
        return None if self._hello is None else self._hello.machine

    @property
    def loaded(self) -> tuple[str, ...]:
        """The precisions whose models are in memory and idle."""
        return () if self._scheduler is None else self._scheduler.loaded

    # ---- verbs -----------------------------------------------------------------------------------------------

    def probe(self) -> None:
        """Have an engine describe the machine; `machine_known` or `machine_unknown` follows. Warms the launcher."""
        if not self._closed:
            self._launcher.warm()
            self._probe.start()

    def compare(self, model: ModelEntry, wanted: ComparisonRequest) -> None:
        """Start a comparison. Raises PlaygroundError, and changes nothing, when it cannot be started."""
        if self._closed or self._busy:
            raise fail(ErrorCode.BAD_SETTINGS, "A comparison is running.", "Stop it first.")
        wanted.check()
        comparison = wanted.comparison(model, self.machine, datetime.now(UTC))
        if wanted.mode is Mode.RACE and not has_room_for_all(model.parameters, wanted.precisions, wanted.device):
            raise fail(
                ErrorCode.OUT_OF_MEMORY,
                "A race needs all models in memory at once, and there is no room for that.",
                "Tick fewer precisions, or run them one after another.",
            )
        self._comparison = comparison
        self._request = wanted.request
        self._baseline_chosen = wanted.baseline is not None
        self.started_s = time.monotonic()
        self._scheduler = scheduler = Scheduler(
            [run.precision for run in comparison.runs],
            rounds=comparison.rounds,
            race=comparison.mode is Mode.RACE,
            keep_loaded=self._keep_loaded,
            loaded=self.loaded,
            ending=() if self._scheduler is None else self._scheduler.ending,
            has_room=self._has_room,
        )
        self._launcher.warm()
        self._set_busy(True)
        self._do(action for name in self._misfits(comparison) for action in scheduler.let_go(name))
        self.comparison_started.emit(comparison)
        self._do(scheduler.begin())  # nothing, when whoever heard that stopped it
        self._finish_if_done()

    def run_again(self, name: str) -> None:
        """Run one precision of the comparison again; the others keep their results. Nothing while it is in work."""
        run = self._run(name)
        if run is None or self._scheduler is None or not run.state.is_final:
            return
        bookkeeping.clear(run)
        self._asked_to_stop.discard(name)
        assert self._comparison is not None
        bookkeeping.refresh_divergence(self._comparison)
        self.run_cleared.emit(name)
        self._set_busy(True)
        self._do(self._scheduler.run_again(name))

    def add(self, precision: Precision) -> None:
        """Add a precision to the comparison and run it; the others keep their results.

        Raises PlaygroundError when there is no comparison, or it has one of that name.
        """
        comparison, scheduler = self._comparison, self._scheduler
        if comparison is None or scheduler is None or self._closed:
            raise fail(ErrorCode.BAD_SETTINGS, "There is no comparison to add to.", "Press Compare.")
        precision.checked()
        if any(run.precision == precision.name for run in comparison.runs):
            raise fail(ErrorCode.BAD_PRECISION, f"{precision.label} is in this comparison.", "Run it again there.")
        comparison.runs.append(Run(precision=precision.name, recipe=precision))
        self._set_busy(True)
        actions = [action for name in self._misfits(comparison) for action in scheduler.let_go(name)]
        actions += scheduler.run_again(precision.name)
        self._choose_baseline()
        self.comparison_changed.emit(comparison)
        self._do(actions)

    def remove(self, name: str) -> None:
        """Take a run that is final out of the comparison. Nothing while it is in work, or when it is the last one."""
        comparison, scheduler, run = self._comparison, self._scheduler, self._run(name)
        if comparison is None or scheduler is None or run is None or not run.state.is_final or len(comparison.runs) < 2:
            return
        comparison.runs.remove(run)
        if comparison.baseline == name:
            self._baseline_chosen = False
        self._choose_baseline()
        self.comparison_changed.emit(comparison)
        self._do(scheduler.remove(name))

    def move(self, name: str, place: int) -> None:
        """Show a run at another place, from 0; places beyond the ends mean the ends."""
        comparison, run = self._comparison, self._run(name)
        if comparison is not None and run is not None:
            comparison.runs.remove(run)
            comparison.runs.insert(max(0, place), run)
            self.comparison_changed.emit(comparison)

    def set_baseline(self, name: str) -> None:
        """Compare the others with that precision."""
        comparison = self._comparison
        if comparison is not None and self._run(name) is not None and comparison.baseline != name:
            self._baseline_chosen = True
            comparison.baseline = name
            bookkeeping.refresh_divergence(comparison)
            self.comparison_changed.emit(comparison)

    def set_keep_loaded(self, keep: bool) -> None:
        """Let engines keep their models after a run, as long as there is room; those that do already go if not."""
        self._keep_loaded = keep
        if self._scheduler is not None:
            self._do(self._scheduler.keep_loaded(keep))

    def stop(self) -> None:
        """Stop the comparison in every phase; `comparison_finished` follows within a second."""
        if self._scheduler is not None and self._busy:
            self._do(self._scheduler.stop())
            self._finish_if_done()

    def close(self) -> None:
        """End every engine and thread, now."""
        self._closed = True
        self._busy = False
        self._stop_deadline.stop()
        self._scheduler = None
        self._engines.close()
        self._probe.close()
        self._launcher.close()

    # ---- carrying out ----------------------------------------------------------------------------------------

    def _misfits(self, comparison: Comparison) -> list[str]:
        """The engines whose model, device or recipe is another than this comparison's."""
        recipes = {run.precision: run.recipe for run in comparison.runs}
        return [
            name
            for name, kept in self._kept.items()
            if (kept.path, kept.device) != (comparison.model.path, comparison.device)
            or recipes.get(name, kept.recipe) != kept.recipe
        ]

    def _has_room(self, name: str, kept: Sequence[str]) -> bool:
        run, comparison = self._run(name), self._comparison
        assert run is not None and comparison is not None
        return has_room_for(comparison.model.parameters, run.recipe, comparison.device, kept)

    def _do(self, wanted: Iterable[Action]) -> None:
        actions = list(wanted)
        together = sum(verb is Verb.GENERATE for verb, _ in actions)
        for verb, name in actions:
            if verb is Verb.START:
                self._engines.start(name)
            elif verb is Verb.LOAD:
                self._engines.submit(name, partial(self._load, name))
            elif verb is Verb.GENERATE:
                self._prepare_to_generate(name, together)
                self._engines.submit(name, partial(self._generate, together))
            elif verb is Verb.ASK_TO_STOP:
                self._engines.cancel(name)
                self._asked_to_stop.add(name)
                if not self._stop_deadline.isActive():  # asking again gives no more time
                    self._stop_deadline.start()
            else:
                self._kept.pop(name, None)
                self._engines.end(name)
        self._show_states()

    def _load(self, name: str, command_id: int) -> Load:
        run, comparison = self._run(name), self._comparison
        assert run is not None and comparison is not None
        return Load(
            id=command_id,
            path=comparison.model.path,
            precision=run.recipe,
            device=comparison.device,
            request=self._request,
        )

    def _generate(self, together: int, command_id: int) -> Generate:
        assert self._comparison is not None
        threads = self.machine.cpu_threads if self.machine is not None else 1
        raced = self._comparison.mode is Mode.RACE
        return Generate(
            id=command_id,
            request=self._request,
            benchmark=self._comparison.mode is Mode.BENCHMARK,
            threads=max(1, threads // together) if raced else None,
        )

    def _prepare_to_generate(self, name: str, together: int) -> None:
        run, kept = self._run(name), self._kept.get(name)
        assert run is not None
        run.beside = together - 1
        if run.token_ids:
            bookkeeping.clear_text(run)
            self.run_cleared.emit(name)
        if run.load.seconds is None and kept is not None:
            bookkeeping.take_loaded(run, kept.event, kept=True)

    # ---- what engines say ------------------------------------------------------------------------------------

    @Slot(str, object)
    def _on_greeted(self, name: str, hello: Hello) -> None:
        self._note_machine(hello)
        self._happened(name, Happened.HELLO)

    @Slot(str, object)
    def _on_said(self, name: str, event: Event) -> None:
        run = self._run(name)
        if run is None or self._scheduler is None or self._scheduler.state(name).is_final:
            return  # the run was given up meanwhile; what it says now would contradict what is shown
        if isinstance(event, TokensGenerated):
            bookkeeping.take_tokens(run, event)
            self.tokens_added.emit(name, event.tokens)
        elif isinstance(event, Progressed):
            self.progressed.emit(name, event)
        elif isinstance(event, PhaseStarted):
            self.phase_started.emit(name, event)
        elif isinstance(event, PromptRead):
            run.prompt_tokens = len(event.token_ids)
        elif isinstance(event, Loaded):
            self._on_loaded(run, event)
        elif isinstance(event, Generated):
            self._on_generated(run, event)
        elif isinstance(event, Failed):
            self._fail(run, event.error)
            self._happened(name, Happened.REFUSED if event.error.code in _REFUSALS else Happened.FAILED)

    def _on_loaded(self, run: Run, event: Loaded) -> None:
        assert self._comparison is not None
        self._kept[run.precision] = _Kept(
            path=self._comparison.model.path, device=self._comparison.device, recipe=run.recipe, event=event
        )
        bookkeeping.take_loaded(run, event, repeated=self._comparison.mode is Mode.BENCHMARK)
        self.run_changed.emit(run.precision)
        self._happened(run.precision, Happened.LOADED)

    def _on_generated(self, run: Run, event: Generated) -> None:
        assert self._comparison is not None
        interrupted = event.finish_reason == "cancelled"
        benchmark = self._comparison.mode is Mode.BENCHMARK
        bookkeeping.take_generated(run, event, repeated=benchmark, counts=not (benchmark and interrupted))
        self._happened(run.precision, Happened.INTERRUPTED if interrupted else Happened.GENERATED)

    @Slot(str, object)
    def _on_gone(self, name: str, error: ErrorInfo | None) -> None:
        self._kept.pop(name, None)
        run, scheduler = self._run(name), self._scheduler
        if scheduler is None:
            return
        in_work = run is not None and scheduler.state(name) not in (RunState.QUEUED,) and not run.state.is_final
        if run is not None and in_work and error is not None:
            self._fail(run, error)
        elif run is not None and in_work and not scheduler.state(name).is_final:
            self._fail(run, ErrorInfo(ErrorCode.ENGINE_DIED, "The engine ended.", "Run it again."))
        elif error is not None:
            self.log_added.emit(f"{name}, loaded and idle: {error} {error.detail}".rstrip())
        self._happened(name, Happened.EXITED)

    @Slot(str, object)
    def _on_memory_sampled(self, name: str, samples: list[MemorySample]) -> None:
        ours = [sample for sample in samples if sample.time_s >= self.started_s]  # the last ones may be of a run before
        if ours:
            self.memory_sampled.emit(name, ours)

    def _happened(self, name: str, happened: Happened) -> None:
        if self._scheduler is not None:
            self._do(self._scheduler.handle(name, happened))
            self._finish_if_done()

    def _fail(self, run: Run, error: ErrorInfo) -> None:
        run.error = error
        self.log_added.emit(f"{run.precision}: {error} {error.detail}".rstrip())

    def _finish_if_done(self) -> None:
        scheduler, comparison = self._scheduler, self._comparison
        if scheduler is None or comparison is None or not self._busy or not scheduler.is_finished:
            return
        self._stop_deadline.stop()
        self._asked_to_stop.clear()
        if self._choose_baseline():
            self.comparison_changed.emit(comparison)
        self._set_busy(False)
        if not self._closed:
            self._launcher.warm()  # only now, when nothing is timed any more
        self.comparison_finished.emit(comparison)

    def _choose_baseline(self) -> bool:
        """Unless somebody chose it: the widest precision, once all is over the widest that ran. Whether it changed."""
        comparison = self._comparison
        assert comparison is not None
        before = comparison.baseline
        if not self._baseline_chosen:
            comparison.baseline = bookkeeping.default_baseline(comparison)
        bookkeeping.refresh_divergence(comparison)
        return comparison.baseline != before

    def _set_busy(self, busy: bool) -> None:
        if busy is not self._busy:
            self._busy = busy
            self.busy_changed.emit(busy)

    def _show_states(self) -> None:
        scheduler, comparison = self._scheduler, self._comparison
        if scheduler is None or comparison is None:
            return
        for run in list(comparison.runs):
            state = scheduler.state(run.precision)
            if run.state is not state:
                run.state = state
                if state is RunState.CANCELLED and run.finish_reason is None:
                    run.finish_reason = "cancelled"
                if state.is_final:
                    bookkeeping.refresh_divergence(comparison)
                self.run_changed.emit(run.precision)

    @Slot()
    def _on_stop_deadline(self) -> None:
        asked, self._asked_to_stop = self._asked_to_stop, set()
        for name in asked:
            self._happened(name, Happened.STUCK)

    def _run(self, name: str) -> Run | None:
        runs = [] if self._comparison is None else self._comparison.runs
        return next((run for run in runs if run.precision == name), None)

    # ---- the probe -------------------------------------------------------------------------------------------

    @Slot(object)
    def _on_machine_unknown(self, error: ErrorInfo) -> None:
        self.log_added.emit(f"No engine could be started. {error} {error.detail}".rstrip())
        self.machine_unknown.emit(error)

    @Slot()
    def _on_probe_ended(self) -> None:
        if not self._closed and not self._busy:
            self._launcher.warm()  # the probe may have used up what was there ahead of need

    @Slot(object)
    def _note_machine(self, hello: Hello) -> None:
        first = self._hello is None
        self._hello = hello
        if self._comparison is not None and self._comparison.environment is None:
            self._comparison.environment = hello.machine
        if first:
            self.machine_known.emit(hello)
