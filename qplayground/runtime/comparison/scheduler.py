"""The scheduler: decides what happens next in a comparison. A state machine without threads, processes, clocks or Qt.

One run at a time is started, loaded, generated, scored and ended. So a machine that can hold any one model can compare
all, and nothing that is timed shares the processor. Two options change that: engines can keep their models loaded,
and in a race all models are loaded one by one and then generate at once.
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, StrEnum, auto
from typing import NamedTuple

from qplayground.core.comparison.results import RunState

HasRoom = Callable[[str, Sequence[str]], bool]
"""Whether a run (its id) can be loaded while these engines keep their models."""
CanScore = Callable[[str], bool]
"""Whether the run's engine, which is running, can score a text."""


class EngineEvent(StrEnum):
    """What the conductor reports about a run."""

    HELLO = "hello"
    LOADED = "loaded"
    GENERATED = "generated"
    SCORED = "scored"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    REFUSED = "refused"
    """Failed because of the request; the engine is unaffected."""
    EXITED = "exited"
    STUCK = "stuck"


class Verb(StrEnum):
    """What the conductor has to do with a run."""

    START = "start"
    LOAD = "load"
    GENERATE = "generate"
    SCORE = "score"
    ASK_TO_STOP = "ask to stop"
    END = "end"


class Action(NamedTuple):
    """One step for the conductor."""

    verb: Verb
    run: str


class _Engine(Enum):
    STARTING = auto()
    LOADED = auto()
    BUSY = auto()
    ENDING = auto()


def order_turns(runs: Sequence[str], rounds: int) -> list[str]:
    """The order of turns: each round begins one place later, so that no run is always first or last."""
    count = len(runs)
    return [runs[(place + turn) % count] for turn in range(rounds) for place in range(count)]


class Scheduler:
    """Owns the state of each run and engine. Every verb returns the actions that follow, in order.

    `loaded`: engines with a model loaded by an earlier comparison, the least recently used first. `ending`: engines
    that have not ended yet; nothing starts before they have.

    With `scores`, runs are scored one at a time: the `reference`, which the others need, after its first text, the
    others after their last. A run whose engine cannot score is over with its last text.
    """

    def __init__(
        self,
        runs: Sequence[str],
        *,
        rounds: int = 1,
        race: bool = False,
        scores: bool = False,
        reference: str | None = None,
        keep_loaded: bool = False,
        loaded: Sequence[str] = (),
        ending: Sequence[str] = (),
        has_room: HasRoom = lambda run, kept: True,
        can_score: CanScore = lambda run: True,
    ) -> None:
        self._states = dict.fromkeys(runs, RunState.QUEUED)
        self._turns = deque(order_turns(runs, rounds))
        self._rounds = rounds
        self._race = race
        self._scores = scores
        self._reference = reference
        self._to_score: list[str] = []
        self._scored: set[str] = set()
        self._unscored: set[str] = set()  # stopped before they were scored
        self._keep_loaded = keep_loaded
        self._has_room = has_room
        self._can_score = can_score
        self._engines = dict.fromkeys(loaded, _Engine.LOADED) | dict.fromkeys(ending, _Engine.ENDING)  # by last use
        self._cut: set[str] = set()

    # ---- queries ---------------------------------------------------------------------------------------------

    def state(self, run: str) -> RunState:
        """The run's state. Raises KeyError for an unknown run."""
        return self._states[run]

    @property
    def is_finished(self) -> bool:
        """Whether every run is final and no engine is busy; some may keep their models."""
        at_rest = all(engine is _Engine.LOADED for engine in self._engines.values())
        return at_rest and all(state.is_final for state in self._states.values())

    @property
    def loaded(self) -> tuple[str, ...]:
        """Engines that have a model loaded and are not busy, the least recently used first."""
        return tuple(name for name, engine in self._engines.items() if engine is _Engine.LOADED)

    @property
    def idle(self) -> tuple[str, ...]:
        """The loaded engines that do not wait either, for the others of a race or to be scored."""
        waiting = (RunState.READY, RunState.SCORING)
        return tuple(name for name in self.loaded if self._states.get(name) not in waiting)

    @property
    def ending(self) -> tuple[str, ...]:
        """Engines that were told to end and have not ended yet."""
        return tuple(name for name, engine in self._engines.items() if engine is _Engine.ENDING)

    # ---- verbs -----------------------------------------------------------------------------------------------

    def begin(self) -> list[Action]:
        """Continue with the queue; does nothing while an engine is busy."""
        return self._advance()

    def queue(self, run: str) -> None:
        """Queue all turns of a new or final run after the waiting ones. `begin` follows."""
        if self._states.get(run, RunState.DONE).is_final:
            self._states[run] = RunState.QUEUED
            self._cut.discard(run)
            self._scored.discard(run)
            self._unscored.discard(run)
            self._turns.extend([run] * self._rounds)

    def remove(self, run: str) -> list[Action]:
        """Forget a final run. Raises ValueError for one that is not final."""
        if not self._states[run].is_final:
            raise ValueError(f"{run} is in work")
        del self._states[run]
        return self.unload(run)

    def unload(self, run: str) -> list[Action]:
        """End an idle engine that has a model loaded; a busy one stays."""
        return self._end(run) if run in self.idle else []

    def keep_loaded(self, keep: bool) -> list[Action]:
        """Set whether engines keep their models after a run. Turning it off ends the idle ones."""
        self._keep_loaded = keep
        if keep:
            return []
        return [action for name in self.idle for action in self._end(name)]

    def stop(self) -> list[Action]:
        """Cancel everything: waiting runs at once, a load by ending its engine, a generation by asking first."""
        self._cut.update(self._turns)
        self._turns.clear()
        actions = []
        for run, state in self._states.items():
            self._unscored.add(run)
            if state is RunState.GENERATING or (state is RunState.SCORING and run not in self._to_score):
                actions.append(Action(Verb.ASK_TO_STOP, run))
            elif state is RunState.SCORING:  # waits for scoring; its text is complete
                self._to_score.remove(run)
                self._states[run] = self._outcome(run)
                actions += [] if self._keep_loaded else self._end(run)
            elif not state.is_final:
                self._states[run] = RunState.CANCELLED
                engine = self._engines.get(run)
                if engine is _Engine.STARTING or (engine is _Engine.LOADED and not self._keep_loaded):
                    actions += self._end(run)
        return actions

    def handle(self, run: str, event: EngineEvent) -> list[Action]:
        """Handle an event. One that does not fit the run's state is late, and changes nothing."""
        state = self._states.get(run)
        if event is EngineEvent.EXITED:
            return self._on_exited(run)
        if state is None or state.is_final:
            return []
        if event is EngineEvent.FAILED or (event is EngineEvent.REFUSED and state is not RunState.GENERATING):
            return self._give_up(run, RunState.FAILED)
        if (state, event) == (RunState.STARTING, EngineEvent.HELLO):
            self._states[run] = RunState.LOADING
            return [Action(Verb.LOAD, run)]
        if (state, event) == (RunState.LOADING, EngineEvent.LOADED):
            self._engines[run] = _Engine.LOADED
            return self._take_turn(run)
        if state is RunState.SCORING:
            return self._on_scored(run, event)
        if state is not RunState.GENERATING:
            return []
        if event is EngineEvent.STUCK:
            return self._give_up(run, RunState.CANCELLED)
        if event is EngineEvent.REFUSED:
            self._drop_turns(run)
            return self._release(run, RunState.FAILED)
        if event is EngineEvent.INTERRUPTED:
            self._drop_turns(run)
            return self._release(run, RunState.CANCELLED)
        if event is EngineEvent.GENERATED:
            if not self._is_to_be_scored(run):
                return self._release(run, self._outcome(run))
            self._to_score.append(run)
            self._rest(run, RunState.SCORING)
            return self._advance()
        return []

    # ---- what follows ----------------------------------------------------------------------------------------

    def _outcome(self, run: str) -> RunState:
        """The run's state after a text: queued for its next turn, or final."""
        if run in self._turns:
            return RunState.QUEUED
        return RunState.CANCELLED if run in self._cut else RunState.DONE

    def _is_to_be_scored(self, run: str) -> bool:
        if not self._scores or run in self._scored | self._unscored | self._cut or not self._can_score(run):
            return False
        return run == self._reference or run not in self._turns

    def _on_scored(self, run: str, event: EngineEvent) -> list[Action]:
        if event is EngineEvent.STUCK:
            return self._give_up(run, self._outcome(run))
        if event is not EngineEvent.SCORED or run in self._to_score:
            return []
        self._scored.add(run)
        return self._release(run, self._outcome(run))

    def _on_exited(self, run: str) -> list[Action]:
        engine = self._engines.pop(run, None)
        state = self._states.get(run)
        if engine is not _Engine.ENDING and state is not None and not state.is_final and state is not RunState.QUEUED:
            self._drop_turns(run)
            self._states[run] = RunState.FAILED
        return self._advance()

    def _give_up(self, run: str, state: RunState) -> list[Action]:
        self._drop_turns(run)
        self._states[run] = state
        return self._end(run) if run in self._engines else []

    def _release(self, run: str, state: RunState) -> list[Action]:
        self._rest(run, state)
        return self._advance() if self._keep_loaded else self._end(run)

    def _rest(self, run: str, state: RunState) -> None:
        self._states[run] = state
        del self._engines[run]
        self._engines[run] = _Engine.LOADED  # moved to the end: most recently used

    def _end(self, run: str) -> list[Action]:
        if self._engines[run] is _Engine.ENDING:
            return []
        self._engines[run] = _Engine.ENDING
        return [Action(Verb.END, run)]

    def _drop_turns(self, run: str) -> None:
        self._turns = deque(turn for turn in self._turns if turn != run)
        self._to_score = [name for name in self._to_score if name != run]

    def _advance(self) -> list[Action]:
        """Start what is next, once no engine is busy."""
        if any(engine is not _Engine.LOADED for engine in self._engines.values()):
            return []
        if self._to_score:
            first = self._reference if self._reference in self._to_score else self._to_score[0]
            self._to_score.remove(first)
            self._engines[first] = _Engine.BUSY
            return [Action(Verb.SCORE, first)]
        if not self._turns:
            return self._start_race()
        run = self._turns[0]
        if run not in self._engines and self.idle and not self._has_room(run, self.loaded):
            return self._end(self.idle[0])
        self._turns.popleft()
        if run in self._engines:
            return self._take_turn(run)
        self._states[run] = RunState.STARTING
        self._engines[run] = _Engine.STARTING
        return [Action(Verb.START, run)]

    def _take_turn(self, run: str) -> list[Action]:
        """The model is loaded: generate, or in a race wait for the others."""
        if self._race:
            self._states[run] = RunState.READY
            return self._advance()
        return self._generate(run)

    def _start_race(self) -> list[Action]:
        ready = [name for name, state in self._states.items() if state is RunState.READY]
        return [action for name in ready for action in self._generate(name)]

    def _generate(self, run: str) -> list[Action]:
        self._states[run] = RunState.GENERATING
        self._engines[run] = _Engine.BUSY
        return [Action(Verb.GENERATE, run)]
