"""What happens next in a comparison: a state machine without threads, processes, clocks or Qt.

One precision at a time is started, loaded, generated and ended, so that a machine that can hold any one precision can
compare them all, and nothing that is timed shares the processor.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from qplayground.core.results import RunState


class Happened(StrEnum):
    """What the session reports of a run."""

    HELLO = "hello"
    LOADED = "loaded"
    GENERATED = "generated"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    EXITED = "exited"
    STUCK = "stuck"


class Verb(StrEnum):
    """What the session is to do with a run."""

    START = "start"
    LOAD = "load"
    GENERATE = "generate"
    ASK_TO_STOP = "ask to stop"
    END = "end"


class Action(NamedTuple):
    """One thing to do."""

    verb: Verb
    precision: str


_NEXT: dict[tuple[RunState, Happened], tuple[RunState, Verb | None]] = {
    (RunState.STARTING, Happened.HELLO): (RunState.LOADING, Verb.LOAD),
    (RunState.LOADING, Happened.LOADED): (RunState.GENERATING, Verb.GENERATE),
    (RunState.GENERATING, Happened.GENERATED): (RunState.DONE, Verb.END),
    (RunState.GENERATING, Happened.INTERRUPTED): (RunState.CANCELLED, Verb.END),
    (RunState.GENERATING, Happened.STUCK): (RunState.CANCELLED, Verb.END),
}


class Scheduler:
    """Owns where each run stands. Every method returns the actions that follow, in order."""

    def __init__(self, precisions: Sequence[str]) -> None:
        self._states = dict.fromkeys(precisions, RunState.QUEUED)
        self._alive: str | None = None

    def state(self, precision: str) -> RunState:
        """Where that run stands."""
        return self._states[precision]

    @property
    def is_finished(self) -> bool:
        """Every run is final and no engine is left."""
        return self._alive is None and all(state.is_final for state in self._states.values())

    def begin(self) -> list[Action]:
        """Start the first run."""
        return self._start_next()

    def handle(self, precision: str, happened: Happened) -> list[Action]:
        """Take note of something that happened. What does not fit the run's state is late and changes nothing."""
        state = self._states[precision]
        if happened is Happened.EXITED:
            if not state.is_final:
                self._states[precision] = RunState.FAILED
            if self._alive == precision:
                self._alive = None
            return self._start_next()
        if happened is Happened.FAILED and not state.is_final:
            self._states[precision] = RunState.FAILED
            return [Action(Verb.END, precision)]
        following = _NEXT.get((state, happened))
        if following is None:
            return []
        self._states[precision], verb = following
        return [] if verb is None else [Action(verb, precision)]

    def stop(self) -> list[Action]:
        """Cancel everything: what waits at once, a load by ending its engine, a generation by asking first."""
        actions = []
        for precision, state in self._states.items():
            if state is RunState.GENERATING:
                actions.append(Action(Verb.ASK_TO_STOP, precision))
            elif not state.is_final:
                self._states[precision] = RunState.CANCELLED
                if self._alive == precision:
                    actions.append(Action(Verb.END, precision))
        return actions

    def _start_next(self) -> list[Action]:
        if self._alive is not None:
            return []
        for precision, state in self._states.items():
            if state is RunState.QUEUED:
                self._states[precision] = RunState.STARTING
                self._alive = precision
                return [Action(Verb.START, precision)]
        return []
