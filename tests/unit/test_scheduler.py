"""What the scheduler decides: one engine at a time, every run to a final state, a stop that ends everything."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qplayground.core.results import RunState
from qplayground.runtime.scheduler import Action, Happened, Scheduler, Verb

NAMES = ("fp32", "bf16", "int8", "nf4")


def act(verb: Verb, name: str) -> list[Action]:
    return [Action(verb, name)]


def states(scheduler: Scheduler, names: tuple[str, ...] = NAMES) -> list[RunState]:
    return [scheduler.state(name) for name in names]


def in_state(state: RunState, name: str = "fp32") -> Scheduler:
    """A scheduler of four whose first run has come to that state."""
    scheduler = Scheduler(NAMES)
    scheduler.begin()
    ways = {
        RunState.STARTING: (),
        RunState.LOADING: (Happened.HELLO,),
        RunState.GENERATING: (Happened.HELLO, Happened.LOADED),
        RunState.DONE: (Happened.HELLO, Happened.LOADED, Happened.GENERATED),
        RunState.FAILED: (Happened.HELLO, Happened.FAILED),
        RunState.CANCELLED: (Happened.HELLO, Happened.LOADED, Happened.INTERRUPTED),
    }
    for happened in ways[state]:
        scheduler.handle(name, happened)
    assert scheduler.state(name) is state
    return scheduler


def test_nothing_happens_before_it_begins() -> None:
    scheduler = Scheduler(NAMES)
    assert states(scheduler) == [RunState.QUEUED] * 4
    assert not scheduler.is_finished


def test_runs_go_one_after_another_in_the_order_they_were_named() -> None:
    scheduler = Scheduler(NAMES)
    following = scheduler.begin()
    for name in NAMES:
        assert following == act(Verb.START, name)
        assert scheduler.state(name) is RunState.STARTING
        assert scheduler.handle(name, Happened.HELLO) == act(Verb.LOAD, name)
        assert scheduler.state(name) is RunState.LOADING
        assert scheduler.handle(name, Happened.LOADED) == act(Verb.GENERATE, name)
        assert scheduler.state(name) is RunState.GENERATING
        assert scheduler.handle(name, Happened.GENERATED) == act(Verb.END, name)
        assert scheduler.state(name) is RunState.DONE
        assert not scheduler.is_finished  # its engine is still there
        following = scheduler.handle(name, Happened.EXITED)
    assert following == []
    assert scheduler.is_finished


def test_the_next_engine_waits_for_the_end_of_the_one_before() -> None:
    scheduler = in_state(RunState.DONE)
    assert scheduler.begin() == []
    assert scheduler.state("bf16") is RunState.QUEUED
    assert scheduler.handle("fp32", Happened.EXITED) == act(Verb.START, "bf16")


def test_a_failure_ends_the_engine_and_the_rest_goes_on() -> None:
    for state in (RunState.STARTING, RunState.LOADING, RunState.GENERATING):
        scheduler = in_state(state)
        assert scheduler.handle("fp32", Happened.FAILED) == act(Verb.END, "fp32")
        assert scheduler.state("fp32") is RunState.FAILED
        assert scheduler.handle("fp32", Happened.EXITED) == act(Verb.START, "bf16")


def test_an_engine_that_is_gone_fails_its_run_and_the_rest_goes_on() -> None:
    for state in (RunState.STARTING, RunState.LOADING, RunState.GENERATING):
        scheduler = in_state(state)
        assert scheduler.handle("fp32", Happened.EXITED) == act(Verb.START, "bf16")
        assert scheduler.state("fp32") is RunState.FAILED


def test_an_exit_after_the_end_changes_no_outcome() -> None:
    for state in (RunState.DONE, RunState.FAILED, RunState.CANCELLED):
        scheduler = in_state(state)
        scheduler.handle("fp32", Happened.EXITED)
        assert scheduler.state("fp32") is state


def test_what_does_not_fit_the_state_changes_nothing() -> None:
    fitting = {
        RunState.STARTING: {Happened.HELLO, Happened.FAILED, Happened.EXITED},
        RunState.LOADING: {Happened.LOADED, Happened.FAILED, Happened.EXITED},
        RunState.GENERATING: set(Happened) - {Happened.HELLO, Happened.LOADED},
        RunState.DONE: {Happened.EXITED},
        RunState.FAILED: {Happened.EXITED},
        RunState.CANCELLED: {Happened.EXITED},
    }
    for state, accepted in fitting.items():
        for happened in set(Happened) - accepted:
            scheduler = in_state(state)
            assert scheduler.handle("fp32", happened) == [], (state, happened)
            assert scheduler.state("fp32") is state, (state, happened)


def test_an_answer_to_a_run_that_waits_changes_nothing() -> None:
    scheduler = in_state(RunState.LOADING)
    for happened in set(Happened) - {Happened.EXITED, Happened.FAILED}:
        assert scheduler.handle("nf4", happened) == []
    assert states(scheduler) == [RunState.LOADING, *[RunState.QUEUED] * 3]


def test_stop_cancels_what_waits_and_kills_a_load() -> None:
    for state in (RunState.STARTING, RunState.LOADING):
        scheduler = in_state(state)
        assert scheduler.stop() == act(Verb.END, "fp32")
        assert states(scheduler) == [RunState.CANCELLED] * 4
        assert not scheduler.is_finished
        assert scheduler.handle("fp32", Happened.EXITED) == []
        assert scheduler.is_finished


def test_stop_asks_a_generation_first() -> None:
    scheduler = in_state(RunState.GENERATING)
    assert scheduler.stop() == act(Verb.ASK_TO_STOP, "fp32")
    assert states(scheduler) == [RunState.GENERATING, *[RunState.CANCELLED] * 3]
    assert scheduler.handle("fp32", Happened.INTERRUPTED) == act(Verb.END, "fp32")
    assert scheduler.state("fp32") is RunState.CANCELLED
    assert scheduler.handle("fp32", Happened.EXITED) == []
    assert scheduler.is_finished


def test_a_generation_that_does_not_stop_is_ended() -> None:
    scheduler = in_state(RunState.GENERATING)
    scheduler.stop()
    assert scheduler.handle("fp32", Happened.STUCK) == act(Verb.END, "fp32")
    assert scheduler.state("fp32") is RunState.CANCELLED


def test_a_generation_that_ends_as_it_is_stopped_is_done() -> None:
    scheduler = in_state(RunState.GENERATING)
    scheduler.stop()
    assert scheduler.handle("fp32", Happened.GENERATED) == act(Verb.END, "fp32")
    assert scheduler.state("fp32") is RunState.DONE
    assert scheduler.handle("fp32", Happened.EXITED) == []


def test_stop_leaves_what_is_done() -> None:
    scheduler = in_state(RunState.DONE)
    assert scheduler.stop() == []
    assert states(scheduler) == [RunState.DONE, *[RunState.CANCELLED] * 3]


def test_stop_before_the_beginning_leaves_nothing_to_do() -> None:
    scheduler = Scheduler(NAMES)
    assert scheduler.stop() == []
    assert scheduler.begin() == []
    assert scheduler.is_finished


class AnyOrder(RuleBasedStateMachine):
    """Everything that can happen, in any order, whether it fits or not."""

    @initialize(count=st.integers(1, 4))
    def begin(self, count: int) -> None:
        self.names = NAMES[:count]
        self.scheduler = Scheduler(self.names)
        self.alive: set[str] = set()
        self.started: list[str] = []
        self.finals: dict[str, RunState] = {}
        self.stopped = False
        self.carry_out(self.scheduler.begin())

    def carry_out(self, actions: list[Action]) -> None:
        for verb, name in actions:
            if verb is Verb.START:
                assert not self.stopped
                self.started.append(name)
                self.alive.add(name)
            else:
                assert name in self.alive, f"{verb} goes to an engine that is gone"

    @rule(index=st.integers(0, 3), happened=st.sampled_from([kind for kind in Happened if kind is not Happened.EXITED]))
    def something_happens(self, index: int, happened: Happened) -> None:
        name = self.names[index % len(self.names)]
        if name in self.started and (happened is not Happened.STUCK or self.stopped):
            before = self.scheduler.state(name)
            actions = self.scheduler.handle(name, happened)
            if before.is_final:
                assert actions == []
            self.carry_out(actions)

    @precondition(lambda self: self.alive)
    @rule()
    def the_engine_exits(self) -> None:
        name = self.alive.pop()
        self.carry_out(self.scheduler.handle(name, Happened.EXITED))
        assert self.scheduler.state(name).is_final

    @rule()
    def a_person_stops(self) -> None:
        self.stopped = True
        self.carry_out(self.scheduler.stop())

    @invariant()
    def one_engine_at_most_is_alive(self) -> None:
        assert len(getattr(self, "alive", ())) <= 1

    @invariant()
    def a_final_state_stays(self) -> None:
        for name in getattr(self, "names", ()):
            state = self.scheduler.state(name)
            assert self.finals.get(name, state) is state
            if state.is_final:
                self.finals[name] = state

    @invariant()
    def it_is_finished_exactly_when_nothing_is_left(self) -> None:
        if hasattr(self, "names"):
            over = not self.alive and all(self.scheduler.state(name).is_final for name in self.names)
            assert self.scheduler.is_finished is over

    def teardown(self) -> None:
        """Wherever it got to: a stop, then what engines do when they are told to end, ends everything."""
        if not hasattr(self, "names"):
            return
        self.a_person_stops()
        for name in list(self.alive):
            self.carry_out(self.scheduler.handle(name, Happened.STUCK))
            assert self.scheduler.state(name).is_final
            self.alive.remove(name)
            self.carry_out(self.scheduler.handle(name, Happened.EXITED))
        assert self.scheduler.is_finished
        assert self.started == list(self.names[: len(self.started)])


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
