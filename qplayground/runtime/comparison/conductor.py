"""Carries out what the scheduler decides: starts engines, sends them commands, ends them.

Longer than most modules, because it alone has a comparison's engines, every verb for them and all their events.
"""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import assert_never

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.results import Mode, RunState
from qplayground.core.errors import PROMPT_ERRORS, ErrorCode, ErrorInfo
from qplayground.core.memory.estimate import Estimate
from qplayground.core.memory.fit import fit
from qplayground.core.memory.process_memory import MemorySample
from qplayground.core.messages.commands import Load
from qplayground.core.messages.events import (
    Failed,
    Generated,
    Hello,
    Loaded,
    LoadEstimated,
    Phase,
    PhaseStarted,
    Progressed,
    PromptRead,
    RunEvent,
    Scored,
    TokensGenerated,
)
from qplayground.core.placement import Placement
from qplayground.runtime.comparison.engines import Engines
from qplayground.runtime.comparison.plan import Plan, RunPlan
from qplayground.runtime.comparison.plan_state import PlanState
from qplayground.runtime.comparison.scheduler import Action, EngineEvent, Scheduler, Verb
from qplayground.runtime.machine.devices import free_memory
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.offload_folders import OffloadFolders

STOP_GRACE_MS = 400


class _Kept(msgspec.Struct, frozen=True):
    """What an engine has in memory, and its event from the load."""

    run: RunPlan
    placement: Placement
    event: Loaded


class Conductor(QObject):
    """Owner of the scheduler and of the loaded engines. It knows no results.

    Signals of a run, with its id first:

    - `greeted(name, Hello)`
    - `said(name, RunEvent)`: an event of a run that is not over. Also `Failed` if its engine died.
    - `fit_known(name, Fit)`: whether the load fits. It replaces `LoadEstimated`.
    - `turn_began(name, others, Loaded)`: before it generates, beside `others` other runs. `Loaded` is from its load.
    - `lost(name, ErrorInfo)`: the engine died while idle.
    - `memory_sampled(name, list[MemorySample])`
    - `unloading(name, PhaseStarted)`: the engine is being ended.

    Signals of the whole:

    - `states_changed()`
    - `loaded_changed(dict[str, int | None])`: the loaded and idle runs, with their weights' bytes if known.
    - `busy_changed(bool)`
    - `finishing()`: nothing is left, but still busy; a slot may queue more.
    - `finished()`: no longer busy. Only if nothing was queued.

    A verb takes effect before any signal is emitted, so a slot may call any verb, even `close`.
    """

    greeted = Signal(str, object)
    said = Signal(str, object)
    fit_known = Signal(str, object)
    turn_began = Signal(str, int, object)
    states_changed = Signal()
    lost = Signal(str, object)
    memory_sampled = Signal(str, object)
    unloading = Signal(str, object)
    loaded_changed = Signal(object)
    busy_changed = Signal(bool)
    finishing = Signal()
    finished = Signal()

    def __init__(self, launcher: Launcher, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._launcher = launcher
        self._engines = Engines(launcher, self)
        self._engines.greeted.connect(self._on_greeted)
        self._engines.said.connect(self._on_said)
        self._engines.gone.connect(self._on_gone)
        self._engines.memory_sampled.connect(self._on_memory_sampled)
        self._scheduler: Scheduler | None = None
        self._state: PlanState | None = None
        self._kept: dict[str, _Kept] = {}
        self._offload_folders = OffloadFolders()
        self._loaded: dict[str, int | None] = {}
        self._lacks: dict[RunPlan, dict[Capability, str]] = {}  # reported by each run's last engine
        self._free: dict[str, dict[str, int]] = {}  # run → free bytes by device when its load began
        self._keep_loaded = False
        self._cpu_threads, self._gpu_count = 1, 0
        self._asked_to_stop: set[str] = set()
        self._busy = self._told_busy = False
        self.started_s = 0.0
        """When the work began, in `time.monotonic` seconds."""
        self._stop_deadline = QTimer(self, singleShot=True, interval=STOP_GRACE_MS)
        self._stop_deadline.timeout.connect(self._on_stop_deadline)

    # ---- queries ---------------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether anything is left to do."""
        return self._busy

    @property
    def loaded(self) -> dict[str, int | None]:
        """Weights in bytes, if known, of each run whose model is loaded and idle; the least recently used first."""
        if self._scheduler is None:
            return {}
        return {name: self._kept[name].event.weight_bytes for name in self._scheduler.idle if name in self._kept}

    @property
    def held_bytes(self) -> dict[str, int]:
        """Bytes by device that the loaded and idle models would free."""
        held: dict[str, int] = {}
        for name in self.loaded:
            for device, kinds in self._kept[name].event.by_device.items():
                held[device] = held.get(device, 0) + kinds.total
        return held

    def lacks(self, name: str) -> dict[Capability, str]:
        """What the run's engine cannot do or report, with the reasons. Empty until an engine has said so."""
        return {} if self._state is None else self._state.lacks(name)

    def state(self, name: str) -> RunState | None:
        """The run's state, or None for an unknown run."""
        if self._scheduler is None or self._state is None or self._state.plan.find(name) is None:
            return None
        return self._scheduler.state(name)

    # ---- verbs -----------------------------------------------------------------------------------------------

    def prepare(self, plan: Plan, estimates: Mapping[str, Estimate]) -> None:
        """Take on a new plan; `begin` follows. Not while busy. `estimates`: those already known, by run."""
        before = self._scheduler
        self._state = state = PlanState(plan, self._lacks)
        state.record_estimates(estimates, gpus=self._gpu_count)
        self.started_s = time.monotonic()
        self._scheduler = Scheduler(
            plan.order,
            scores=state.scores,
            reference=None if plan.reference is None else plan.reference.id,
            rounds=plan.rounds,
            race=plan.mode is Mode.RACE,
            keep_loaded=self._keep_loaded,
            loaded=() if before is None else before.loaded,
            ending=() if before is None else before.ending,
            has_room=state.has_room,
            can_score=lambda name: Capability.SCORING not in state.lacks(name),
        )
        self._busy = True
        self._launcher.warm()

    def queue(self, run: RunPlan, estimate: Estimate | None = None) -> None:
        """Add a run, or queue a finished one again; `begin` follows."""
        if self._scheduler is not None and self._state is not None:
            self._state.plan = self._state.plan.with_run(run)
            if estimate is not None:
                self._state.record_estimates({run.id: estimate}, gpus=self._gpu_count)
            self._asked_to_stop.discard(run.id)
            self._scheduler.queue(run.id)
            self._busy = True

    def begin(self) -> None:
        """Unload models that are no longer useful, and continue with the queue, unless it was stopped."""
        self._tell_busy()
        if self._scheduler is not None:
            self._do([*self._misfits_leave(), *self._scheduler.begin()])
            self._finish_if_done()

    def remove(self, name: str) -> None:
        """Forget a finished run, and end its engine."""
        if self._scheduler is not None and self._state is not None:
            actions = self._scheduler.remove(name)
            self._state.remove(name)
            self._do(actions)

    def unload(self, name: str) -> None:
        """End an idle engine that has its model loaded; otherwise do nothing."""
        if self._scheduler is not None:
            self._do(self._scheduler.unload(name))

    def set_keep_loaded(self, keep: bool) -> None:
        """Set whether engines keep their models after a run, if they fit. Turning it off ends the idle ones."""
        self._keep_loaded = keep
        if self._scheduler is not None:
            self._do(self._scheduler.keep_loaded(keep))

    def stop(self) -> None:
        """Stop in every phase; `finished` follows within a second."""
        if self._scheduler is not None and self._busy:
            self._do(self._scheduler.stop())
            self._finish_if_done()

    def close(self) -> None:
        """End every engine and thread, now."""
        self._busy = False
        self._stop_deadline.stop()
        self._scheduler = None
        self._engines.close()
        self._offload_folders.clear_all()

    # ---- carrying out ----------------------------------------------------------------------------------------

    def _misfits_leave(self) -> list[Action]:
        """Unload engines whose model, placement or precision differs from this plan's."""
        plan, scheduler = self._planned.plan, self._scheduler
        assert scheduler is not None
        paths = {run.path for run in plan.runs}
        misfits = [
            name
            for name, kept in self._kept.items()
            if kept.run.path not in paths
            or kept.placement != plan.placement.same_weights
            or (plan.find(name) or kept.run) != kept.run
        ]
        return [action for name in misfits for action in scheduler.unload(name)]

    @property
    def _planned(self) -> PlanState:
        assert self._state is not None
        return self._state

    def _do(self, wanted: Iterable[Action]) -> None:
        scheduler, actions = self._scheduler, list(wanted)
        together = sum(verb is Verb.GENERATE for verb, _ in actions)
        for verb, name in actions:
            if self._scheduler is not scheduler:
                return  # a slot closed it
            if verb is Verb.START:
                self._engines.start(name, self._planned.plan.run(name).engine)
            elif verb is Verb.LOAD:
                self._engines.submit(name, partial(self._load, name))
            elif verb is Verb.GENERATE:
                self._start_writing(name, together)
            elif verb is Verb.SCORE:
                self._engines.submit(name, partial(self._planned.score, name))
            elif verb is Verb.ASK_TO_STOP:
                self._engines.cancel(name)
                self._asked_to_stop.add(name)
                if not self._stop_deadline.isActive():  # asking again does not extend the deadline
                    self._stop_deadline.start()
            else:
                self._kept.pop(name, None)
                self.unloading.emit(name, PhaseStarted(0, Phase.UNLOAD, time.monotonic()))
                self._engines.end(name)
        self._tell()

    def _start_writing(self, name: str, together: int) -> None:
        scheduler = self._scheduler
        self.turn_began.emit(name, together - 1, self._kept[name].event)
        if self._scheduler is scheduler and self.state(name) is RunState.GENERATING:
            make = partial(self._planned.generate, together=together, cpu_threads=self._cpu_threads)
            self._engines.submit(name, make)

    def _load(self, name: str, command_id: int) -> Load:
        state = self._planned
        folder = self._offload_folders.folder(state.plan.placement, name)
        self._free[name] = free_memory()
        return state.load(
            state.plan.run(name),
            command_id,
            offload_folder=folder,
            gpus=self._gpu_count,
            asks_beside=self._keep_loaded,
        )

    def _tell(self) -> None:
        self.states_changed.emit()
        if self.loaded != self._loaded:
            self._loaded = self.loaded
            self.loaded_changed.emit(self._loaded)

    def _tell_busy(self) -> None:
        if self._busy is not self._told_busy:
            self._told_busy = self._busy
            self.busy_changed.emit(self._busy)

    def _finish_if_done(self) -> None:
        if not self._is_done():
            return
        self._stop_deadline.stop()
        self._asked_to_stop.clear()
        self.finishing.emit()
        if not self._is_done():
            return  # a slot queued more, or closed it
        self._busy = False
        self._launcher.warm()  # only now, because nothing is timed any more
        self._tell_busy()
        self.finished.emit()

    def _is_done(self) -> bool:
        return self._busy and self._scheduler is not None and self._scheduler.is_finished

    # ---- what happens ----------------------------------------------------------------------------------------

    def _on_engine_event(self, name: str, event: EngineEvent) -> None:
        if self._scheduler is not None:
            self._do(self._scheduler.handle(name, event))
            self._finish_if_done()

    def _is_open(self, name: str) -> bool:
        """Whether the run exists and is not over."""
        state = self.state(name)
        return state is not None and not state.is_final

    @Slot(str, object)
    def _on_greeted(self, name: str, hello: Hello) -> None:
        self._cpu_threads, self._gpu_count = hello.machine.cpu_threads, len(hello.machine.gpus)
        run = self._planned.plan.find(name)
        if run is not None:
            self._lacks[run] = hello.lacks
        self.greeted.emit(name, hello)
        self._on_engine_event(name, EngineEvent.HELLO)

    @Slot(str, object)
    def _on_said(self, name: str, event: RunEvent) -> None:
        if not self._is_open(name):
            return  # the run was given up; a late event would contradict what is shown
        state = self._planned
        outcome: EngineEvent | None = None
        match event:
            case LoadEstimated():
                self.fit_known.emit(name, fit([event.estimate], self._free[name], scores=state.scores))
                return
            case Loaded():
                run = state.plan.run(name)
                state.record_loaded(run, event)
                self._kept[name] = _Kept(run, state.plan.placement.same_weights, event)
                outcome = EngineEvent.LOADED
            case Generated(finish_reason=reason):
                outcome = EngineEvent.INTERRUPTED if reason == "cancelled" else EngineEvent.GENERATED
            case Scored():
                state.record_scored(name, event)
                outcome = EngineEvent.SCORED
            case Failed(error=error) if error.code in PROMPT_ERRORS:  # a kept model is not affected
                outcome = EngineEvent.REFUSED
            case Failed(error=error):
                event = msgspec.structs.replace(event, error=self._with_output(name, error))
                outcome = EngineEvent.FAILED
            case PhaseStarted() | Progressed() | PromptRead() | TokensGenerated():
                pass
            case _:
                assert_never(event)
        self.said.emit(name, event)
        if outcome is not None:
            self._on_engine_event(name, outcome)

    def _with_output(self, name: str, error: ErrorInfo) -> ErrorInfo:
        return msgspec.structs.replace(error, detail=f"{error.detail}\n\n{self._engines.output_tail(name)}".strip())

    @Slot(str, object)
    def _on_gone(self, name: str, error: ErrorInfo | None) -> None:
        self._kept.pop(name, None)
        self._offload_folders.clear(name)
        if self._scheduler is None:
            return
        in_work = self._is_open(name) and self.state(name) is not RunState.QUEUED
        actions = self._scheduler.handle(name, EngineEvent.EXITED)
        if in_work:
            died = error or ErrorInfo(ErrorCode.ENGINE_DIED, "The engine ended.", "Run it again.")
            self.said.emit(name, Failed(0, died))
        elif error is not None:
            self.lost.emit(name, error)
        self._do(actions)
        self._finish_if_done()

    @Slot(str, object)
    def _on_memory_sampled(self, name: str, samples: list[MemorySample]) -> None:
        ours = [sample for sample in samples if sample.time_s >= self.started_s]  # older ones: earlier work
        if ours:
            self.memory_sampled.emit(name, ours)

    @Slot()
    def _on_stop_deadline(self) -> None:
        asked, self._asked_to_stop = self._asked_to_stop, set()
        for name in asked:
            self._on_engine_event(name, EngineEvent.STUCK)
