"""Carries out what the scheduler decides: starts engines, gives them commands, ends them."""

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.results import Mode, Run, RunState
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.generation import GenerationRequest
from qplayground.core.measures.quality import QualityRequest
from qplayground.core.measures.windows import Windows
from qplayground.core.memory.estimate import ContextSize, Estimate, Verdict
from qplayground.core.memory.fit import fit
from qplayground.core.memory.process_memory import MemorySample
from qplayground.core.messages.commands import Generate, Load, Score
from qplayground.core.messages.events import (
    Event,
    Failed,
    Generated,
    Hello,
    Loaded,
    LoadEstimated,
    Phase,
    PhaseStarted,
    Scored,
)
from qplayground.core.placement import Placement
from qplayground.core.precision import Precision
from qplayground.runtime.comparison.engines import Engines
from qplayground.runtime.comparison.scheduler import Action, Happened, Scheduler, Verb
from qplayground.runtime.machine.devices import free_memory, weight_limits
from qplayground.runtime.machine.fitting import fit_now
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.evaluation_text import BASELINES_LIMIT_BYTES, baselines_folder
from qplayground.runtime.storage.offload_folders import OffloadFolders

STOP_GRACE_MS = 400

_REFUSALS = (
    ErrorCode.EMPTY_PROMPT,
    ErrorCode.BAD_SETTINGS,
    ErrorCode.PROMPT_TOO_LONG,
    ErrorCode.NO_CHAT_TEMPLATE,
)
"""Said before the model is touched, so that a kept one stays as good as it was."""


class RunPlan(msgspec.Struct, frozen=True):
    """What one engine is to run. `path` is the model's folder."""

    id: str
    path: str
    precision: Precision
    engine: str

    @classmethod
    def of(cls, run: Run) -> "RunPlan":
        return cls(run.id, run.model.path, run.precision, run.engine)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the engines are to do. With `quality` a text is scored, by the `reference` first; it stays known when its
    run was removed, so that others can still be compared with it.
    """

    runs: tuple[RunPlan, ...]
    placement: Placement
    request: GenerationRequest
    mode: Mode
    rounds: int
    quality: QualityRequest | None = None
    reference: RunPlan | None = None

    def run(self, run_id: str) -> RunPlan | None:
        """The run with that id, if there is one."""
        return next((run for run in self.runs if run.id == run_id), None)

    def with_run(self, run: RunPlan) -> "Plan":
        """The same with that run, in the place of one with its id."""
        reference = run if self.reference is not None and self.reference.id == run.id else self.reference
        return msgspec.structs.replace(self, runs=(*self.without(run.id).runs, run), reference=reference)

    def without(self, run_id: str) -> "Plan":
        """The same without that run."""
        return msgspec.structs.replace(self, runs=tuple(run for run in self.runs if run.id != run_id))


class _Learned(msgspec.Struct):
    """What came out while a plan was carried out. `contexts` are by the model's folder, `estimates` by run; the limits
    are read before the first load. The engine of the `reference`, which the others are scored against, says which
    `windows` of the text it scored, which tokens, and the place where they are kept.
    """

    estimates: dict[str, Estimate]
    contexts: dict[str, ContextSize | None] = {}
    limits: dict[str, int] | None = None
    reference: RunPlan | None = None
    windows: Windows | None = None
    scored_ids: tuple[int, ...] = ()
    reference_place: str = ""


class _Kept(msgspec.Struct, frozen=True):
    """What an engine holds, and how it came there."""

    run: RunPlan
    placement: Placement
    event: Loaded


class Conductor(QObject):
    """Owner of the scheduler and of what is kept in memory. It knows no results.

    Signals with the run's id first: `greeted(name, Hello)`; `said(name, Event)` from an engine whose run is not
    over; `fit_known(name, Fit)`, whether what is being loaded fits, before its first weight; `failed(name, ErrorInfo)`;
    `turn_began(name, others, Loaded)` before it writes, beside how many others, with what its engine said when it
    loaded; `lost(name, ErrorInfo)` for an engine that died while it was idle;
    `memory_sampled(name, list[MemorySample])`; `unloading(name, PhaseStarted)` as it is ended.
    Signals of the whole: `states_changed()`; `loaded_changed(dict[str, int | None])`, which models are in memory and
    idle, and the bytes of their weights where those are known; `busy_changed(bool)`. When nothing is left to do:
    `finishing()` while it is still busy, in which more may be queued; otherwise, once it is not busy any more,
    `finished()`.

    What is asked of it is done before anybody hears of it, so a slot may ask for anything, closing included.
    """

    greeted = Signal(str, object)
    said = Signal(str, object)
    fit_known = Signal(str, object)
    failed = Signal(str, object)
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
        self._plan: Plan | None = None
        self._learned = _Learned({})
        self._kept: dict[str, _Kept] = {}
        self._offload_folders = OffloadFolders()
        self._loaded: dict[str, int | None] = {}
        self._lacks: dict[RunPlan, dict[Capability, str]] = {}  # of each run's last engine
        self._free: dict[str, dict[str, int]] = {}  # bytes of each device as that precision's load was begun
        self._keep_loaded = False
        self._cpu_threads, self._gpu_count = 1, 0
        self._asked_to_stop: set[str] = set()
        self._busy = self._told_busy = False
        self.started_s = 0.0
        """When the work was begun, in `time.monotonic` seconds."""
        self._stop_deadline = QTimer(self, singleShot=True, interval=STOP_GRACE_MS)
        self._stop_deadline.timeout.connect(self._on_stop_deadline)

    # ---- what others may ask ---------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether anything is left to do."""
        return self._busy

    @property
    def loaded(self) -> dict[str, int | None]:
        """The runs whose models are in memory and idle, the coldest first, with their weights' bytes if known."""
        if self._scheduler is None:
            return {}
        return {name: self._kept[name].event.weight_bytes for name in self._scheduler.idle if name in self._kept}

    @property
    def held_bytes(self) -> dict[str, int]:
        """What they hold of each device, and would give back."""
        held: dict[str, int] = {}
        for name in self.loaded:
            for device, kinds in self._kept[name].event.by_device.items():
                held[device] = held.get(device, 0) + kinds.total
        return held

    def lacks(self, name: str) -> dict[Capability, str]:
        """What that run's engine cannot do or say, each with the reason. Empty until an engine has said so."""
        run = None if self._plan is None else self._plan.run(name)
        return {} if run is None else self._lacks.get(run, {})

    def state(self, name: str) -> RunState | None:
        """Where that run stands, None when there is none."""
        if self._scheduler is None or self._plan is None or self._plan.run(name) is None:
            return None
        return self._scheduler.state(name)

    # ---- verbs -----------------------------------------------------------------------------------------------

    def prepare(self, plan: Plan, estimates: Mapping[str, Estimate]) -> None:
        """Take on a new plan; `begin` follows. Not while busy. `estimates`: what is known of its runs already."""
        before = self._scheduler
        self._plan = plan
        self._learned = _Learned({name: each for name, each in estimates.items() if self._is_of_use(plan, each)})
        self.started_s = time.monotonic()
        reference = None if plan.reference is None else plan.reference.id
        ids = [run.id for run in plan.runs]
        self._scheduler = Scheduler(
            sorted(ids, key=lambda name: plan.quality is not None and name != reference),
            scores=plan.quality is not None,
            reference=reference,
            rounds=plan.rounds,
            race=plan.mode is Mode.RACE,
            keep_loaded=self._keep_loaded,
            loaded=() if before is None else before.loaded,
            ending=() if before is None else before.ending,
            has_room=self._has_room,
            can_score=lambda name: Capability.SCORING not in self.lacks(name),
        )
        self._busy = True
        self._launcher.warm()

    def queue(self, run: RunPlan, estimate: Estimate | None = None) -> None:
        """Take on one more run, or one that is over again; `begin` follows."""
        if self._scheduler is not None and self._plan is not None:
            self._plan = self._plan.with_run(run)
            if estimate is not None and self._is_of_use(self._plan, estimate):
                self._learned.estimates[run.id] = estimate
            self._asked_to_stop.discard(run.id)
            self._scheduler.queue(run.id)
            self._busy = True

    def begin(self) -> None:
        """Let go of models that are of no use any more, and go on with what is queued, unless it was stopped."""
        self._tell_busy()
        if self._scheduler is not None:
            self._do([*self._misfits_leave(), *self._scheduler.begin()])
            self._finish_if_done()

    def remove(self, name: str) -> None:
        """Forget a run that is over, and end its engine."""
        if self._scheduler is not None and self._plan is not None:
            actions = self._scheduler.remove(name)
            self._plan = self._plan.without(name)
            self._learned.estimates.pop(name, None)
            self._do(actions)

    def let_go(self, name: str) -> None:
        """End an engine that keeps its model for another time; nothing when it is in work or not there."""
        if self._scheduler is not None:
            self._do(self._scheduler.let_go(name))

    def set_keep_loaded(self, keep: bool) -> None:
        """Let engines keep their models after a run, as long as there is room; those that do already go if not."""
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
        """Let go of the engines whose model, device or recipe is another than this plan's."""
        plan, scheduler = self._plan, self._scheduler
        assert plan is not None and scheduler is not None
        paths = {run.path for run in plan.runs}
        misfits = [
            name
            for name, kept in self._kept.items()
            if kept.run.path not in paths
            or kept.placement != plan.placement.same_weights
            or (plan.run(name) or kept.run) != kept.run
        ]
        return [action for name in misfits for action in scheduler.let_go(name)]

    def _is_of_use(self, plan: Plan, estimate: Estimate) -> bool:
        """Whether it is of this text, and would be the same if the models that are kept were gone.

        Where the memory that is free on a GPU decides where parts go, it would not.
        """
        by_what_is_free = self._gpu_count > 0 and not (plan.placement.is_single or plan.placement.modules)
        return estimate.kv_cache_bytes is not None and not by_what_is_free

    def _has_room(self, name: str, kept: Sequence[str]) -> bool:
        """Whether it can be loaded beside engines that keep their models. Of what is unknown one load too many is
        taken over a run that is lost. A model that is not in its engine's process needs no room here.
        """
        assert self._plan is not None
        if not kept or Capability.MEMORY in self.lacks(name):
            return True
        found = fit_now([self._learned.estimates.get(name)], scores=self._plan.quality is not None)
        return found.verdict in (Verdict.FITS, Verdict.TIGHT)

    def _do(self, wanted: Iterable[Action]) -> None:
        scheduler, actions = self._scheduler, list(wanted)
        together = sum(verb is Verb.GENERATE for verb, _ in actions)
        for verb, name in actions:
            if self._scheduler is not scheduler:
                return  # closed by whoever heard of it
            if verb is Verb.START:
                self._engines.start(name, self._run(name).engine)
            elif verb is Verb.LOAD:
                self._engines.submit(name, partial(self._load, name))
            elif verb is Verb.GENERATE:
                self._start_writing(name, together)
            elif verb is Verb.SCORE:
                self._engines.submit(name, partial(self._score, name))
            elif verb is Verb.ASK_TO_STOP:
                self._engines.cancel(name)
                self._asked_to_stop.add(name)
                if not self._stop_deadline.isActive():  # asking again gives no more time
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
            self._engines.submit(name, partial(self._generate, together))

    def _load(self, name: str, command_id: int) -> Load:
        plan, run = self._plan, self._run(name)
        assert plan is not None
        folder = self._offload_folders.folder(plan.placement, name)
        self._free[name] = free_memory()
        predicts = Capability.PREDICTION not in self.lacks(name)
        return Load(
            id=command_id,
            path=run.path,
            precision=run.precision,
            placement=msgspec.structs.replace(plan.placement, offload_folder=folder),
            limits=self._limits(plan),
            request=plan.request,
            context=self._learned.contexts.get(run.path),
            others=self._unknown_beside(run) if self._keep_loaded and predicts else (),
        )

    def _limits(self, plan: Plan) -> dict[str, int]:
        """Read once, before the first load: every run and every round is placed by the same ones."""
        if self._learned.limits is None:
            self._learned.limits = weight_limits(plan.placement, self._gpu_count)
        return self._learned.limits

    def _unknown_beside(self, run: RunPlan) -> tuple[Precision, ...]:
        """The precisions of the same model of which nothing is known yet."""
        known = {run.id, *self._learned.estimates}
        return tuple(other.precision for other in self._same_model(run) if other.id not in known)

    def _same_model(self, run: RunPlan) -> list[RunPlan]:
        assert self._plan is not None
        return [other for other in self._plan.runs if (other.path, other.engine) == (run.path, run.engine)]

    def _run(self, name: str) -> RunPlan:
        run = None if self._plan is None else self._plan.run(name)
        assert run is not None
        return run

    def _generate(self, together: int, command_id: int) -> Generate:
        plan = self._plan
        assert plan is not None
        threads = plan.placement.threads or self._cpu_threads
        return Generate(
            id=command_id,
            request=plan.request,
            benchmark=plan.mode is Mode.BENCHMARK,
            threads=max(1, threads // together) if plan.mode is Mode.RACE else threads,
        )

    def _score(self, name: str, command_id: int) -> Score:
        plan, learned = self._plan, self._learned
        assert plan is not None and plan.quality is not None and plan.reference is not None
        if learned.reference is None:  # where the baseline cannot be scored, the first that can takes its place
            cannot = Capability.SCORING in self._lacks.get(plan.reference, {})
            learned.reference = self._run(name) if cannot else plan.reference
        reference = learned.reference
        is_reference = name == reference.id
        return Score(
            id=command_id,
            source=plan.quality.source,
            name=plan.quality.name,
            text=plan.quality.text,
            token_ids=() if is_reference else learned.scored_ids,
            tokens=plan.quality.tokens,
            windows=None if is_reference else learned.windows,
            baseline=reference.precision,
            reference=reference.id,
            place="" if is_reference else learned.reference_place,
            threads=plan.placement.threads,
            folder=str(baselines_folder()),
            limit_bytes=BASELINES_LIMIT_BYTES,
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
            return  # more was queued, or it was closed
        self._busy = False
        self._launcher.warm()  # only now, when nothing is timed any more
        self._tell_busy()
        self.finished.emit()

    def _is_done(self) -> bool:
        return self._busy and self._scheduler is not None and self._scheduler.is_finished

    # ---- what happens ----------------------------------------------------------------------------------------

    def _happened(self, name: str, happened: Happened) -> None:
        if self._scheduler is not None:
            self._do(self._scheduler.handle(name, happened))
            self._finish_if_done()

    def _is_open(self, name: str) -> bool:
        """Whether there is such a run, and it is not over."""
        state = self.state(name)
        return state is not None and not state.is_final

    @Slot(str, object)
    def _on_greeted(self, name: str, hello: Hello) -> None:
        self._cpu_threads, self._gpu_count = hello.machine.cpu_threads, len(hello.machine.gpus)
        run = None if self._plan is None else self._plan.run(name)
        if run is not None:
            self._lacks[run] = hello.lacks
        self.greeted.emit(name, hello)
        self._happened(name, Happened.HELLO)

    @Slot(str, object)
    def _on_said(self, name: str, event: Event) -> None:
        if not self._is_open(name):
            return  # the run was given up meanwhile; what it says now would contradict what is shown
        plan, learned = self._plan, self._learned
        assert plan is not None
        if isinstance(event, Loaded):
            self._learn(self._run(name), event)
            self._kept[name] = _Kept(self._run(name), plan.placement.same_weights, event)
        if isinstance(event, LoadEstimated):
            self.fit_known.emit(name, fit([event.estimate], self._free[name], scores=plan.quality is not None))
            return
        if isinstance(event, Failed):
            refused = event.error.code in _REFUSALS
            self.failed.emit(name, event.error if refused else self._with_output(name, event.error))
            self._happened(name, Happened.REFUSED if refused else Happened.FAILED)
            return
        if isinstance(event, Scored) and learned.reference is not None and name == learned.reference.id:
            learned.windows, learned.scored_ids, learned.reference_place = event.windows, event.token_ids, event.place
        self.said.emit(name, event)
        if isinstance(event, Loaded):
            self._happened(name, Happened.LOADED)
        elif isinstance(event, Scored):
            self._happened(name, Happened.SCORED)
        elif isinstance(event, Generated):
            interrupted = event.finish_reason == "cancelled"
            self._happened(name, Happened.INTERRUPTED if interrupted else Happened.GENERATED)

    def _learn(self, run: RunPlan, event: Loaded) -> None:
        """Note what a load says of its model's other runs too."""
        self._learned.contexts[run.path] = event.context
        known = [*event.others, *([] if event.estimate is None else [event.estimate])]
        estimates = {estimate.precision: estimate for estimate in known}
        for other in self._same_model(run):
            if other.precision.name in estimates:
                self._learned.estimates[other.id] = estimates[other.precision.name]

    def _with_output(self, name: str, error: ErrorInfo) -> ErrorInfo:
        return msgspec.structs.replace(error, detail=f"{error.detail}\n\n{self._engines.output_tail(name)}".strip())

    @Slot(str, object)
    def _on_gone(self, name: str, error: ErrorInfo | None) -> None:
        self._kept.pop(name, None)
        self._offload_folders.clear(name)
        if self._scheduler is None:
            return
        in_work = self._is_open(name) and self.state(name) is not RunState.QUEUED
        actions = self._scheduler.handle(name, Happened.EXITED)
        if in_work:
            self.failed.emit(name, error or ErrorInfo(ErrorCode.ENGINE_DIED, "The engine ended.", "Run it again."))
        elif error is not None:
            self.lost.emit(name, error)
        self._do(actions)
        self._finish_if_done()

    @Slot(str, object)
    def _on_memory_sampled(self, name: str, samples: list[MemorySample]) -> None:
        ours = [sample for sample in samples if sample.time_s >= self.started_s]  # the last ones may be of work before
        if ours:
            self.memory_sampled.emit(name, ours)

    @Slot()
    def _on_stop_deadline(self) -> None:
        asked, self._asked_to_stop = self._asked_to_stop, set()
        for name in asked:
            self._happened(name, Happened.STUCK)
