"""The scheduler's decisions: one engine at a time, a final state for every run, a stop that ends everything."""

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qplayground.core.comparison.results import RunState
from qplayground.runtime.comparison.scheduler import Action, EngineEvent, Scheduler, Verb, order_turns

NAMES = ("fp32", "bf16", "int8", "nf4")


def act(verb: Verb, name: str) -> list[Action]:
    return [Action(verb, name)]


def states(scheduler: Scheduler, names: tuple[str, ...] = NAMES) -> list[RunState]:
    return [scheduler.state(name) for name in names]


def in_state(state: RunState, name: str = "fp32") -> Scheduler:
    """A scheduler with four runs, the named one in that state."""
    scheduler = Scheduler(NAMES)
    scheduler.begin()
    ways = {
        RunState.STARTING: (),
        RunState.LOADING: (EngineEvent.HELLO,),
        RunState.GENERATING: (EngineEvent.HELLO, EngineEvent.LOADED),
        RunState.DONE: (EngineEvent.HELLO, EngineEvent.LOADED, EngineEvent.GENERATED),
        RunState.FAILED: (EngineEvent.HELLO, EngineEvent.FAILED),
        RunState.CANCELLED: (EngineEvent.HELLO, EngineEvent.LOADED, EngineEvent.INTERRUPTED),
    }
    for event in ways[state]:
        scheduler.handle(name, event)
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
        assert scheduler.handle(name, EngineEvent.HELLO) == act(Verb.LOAD, name)
        assert scheduler.state(name) is RunState.LOADING
        assert scheduler.handle(name, EngineEvent.LOADED) == act(Verb.GENERATE, name)
        assert scheduler.state(name) is RunState.GENERATING
        assert scheduler.handle(name, EngineEvent.GENERATED) == act(Verb.END, name)
        assert scheduler.state(name) is RunState.DONE
        assert not scheduler.is_finished  # its engine still exists
        following = scheduler.handle(name, EngineEvent.EXITED)
    assert following == []
    assert scheduler.is_finished


def test_the_next_engine_waits_for_the_end_of_the_one_before() -> None:
    scheduler = in_state(RunState.DONE)
    assert scheduler.begin() == []
    assert scheduler.state("bf16") is RunState.QUEUED
    assert scheduler.handle("fp32", EngineEvent.EXITED) == act(Verb.START, "bf16")


def test_a_failure_ends_the_engine_and_the_rest_goes_on() -> None:
    for state in (RunState.STARTING, RunState.LOADING, RunState.GENERATING):
        scheduler = in_state(state)
        assert scheduler.handle("fp32", EngineEvent.FAILED) == act(Verb.END, "fp32")
        assert scheduler.state("fp32") is RunState.FAILED
        assert scheduler.handle("fp32", EngineEvent.EXITED) == act(Verb.START, "bf16")


def test_an_engine_that_is_gone_fails_its_run_and_the_rest_goes_on() -> None:
    for state in (RunState.STARTING, RunState.LOADING, RunState.GENERATING):
        scheduler = in_state(state)
        assert scheduler.handle("fp32", EngineEvent.EXITED) == act(Verb.START, "bf16")
        assert scheduler.state("fp32") is RunState.FAILED


def test_an_exit_after_the_end_changes_no_outcome() -> None:
    for state in (RunState.DONE, RunState.FAILED, RunState.CANCELLED):
        scheduler = in_state(state)
        scheduler.handle("fp32", EngineEvent.EXITED)
        assert scheduler.state("fp32") is state


def test_what_does_not_fit_the_state_changes_nothing() -> None:
    fitting = {
        RunState.STARTING: {EngineEvent.HELLO, EngineEvent.FAILED, EngineEvent.REFUSED, EngineEvent.EXITED},
        RunState.LOADING: {EngineEvent.LOADED, EngineEvent.FAILED, EngineEvent.REFUSED, EngineEvent.EXITED},
        RunState.GENERATING: set(EngineEvent) - {EngineEvent.HELLO, EngineEvent.LOADED, EngineEvent.SCORED},
        RunState.DONE: {EngineEvent.EXITED},
        RunState.FAILED: {EngineEvent.EXITED},
        RunState.CANCELLED: {EngineEvent.EXITED},
    }
    for state, accepted in fitting.items():
        for event in set(EngineEvent) - accepted:
            scheduler = in_state(state)
            assert scheduler.handle("fp32", event) == [], (state, event)
            assert scheduler.state("fp32") is state, (state, event)


def test_an_answer_to_a_run_that_waits_changes_nothing() -> None:
    scheduler = in_state(RunState.LOADING)
    for event in set(EngineEvent) - {EngineEvent.EXITED, EngineEvent.FAILED, EngineEvent.REFUSED}:
        assert scheduler.handle("nf4", event) == []
    assert states(scheduler) == [RunState.LOADING, *[RunState.QUEUED] * 3]


def test_stop_cancels_what_waits_and_kills_a_load() -> None:
    for state in (RunState.STARTING, RunState.LOADING):
        scheduler = in_state(state)
        assert scheduler.stop() == act(Verb.END, "fp32")
        assert states(scheduler) == [RunState.CANCELLED] * 4
        assert not scheduler.is_finished
        assert scheduler.handle("fp32", EngineEvent.EXITED) == []
        assert scheduler.is_finished


def test_stop_asks_a_generation_first() -> None:
    scheduler = in_state(RunState.GENERATING)
    assert scheduler.stop() == act(Verb.ASK_TO_STOP, "fp32")
    assert states(scheduler) == [RunState.GENERATING, *[RunState.CANCELLED] * 3]
    assert scheduler.handle("fp32", EngineEvent.INTERRUPTED) == act(Verb.END, "fp32")
    assert scheduler.state("fp32") is RunState.CANCELLED
    assert scheduler.handle("fp32", EngineEvent.EXITED) == []
    assert scheduler.is_finished


def test_a_generation_that_does_not_stop_is_ended() -> None:
    scheduler = in_state(RunState.GENERATING)
    scheduler.stop()
    assert scheduler.handle("fp32", EngineEvent.STUCK) == act(Verb.END, "fp32")
    assert scheduler.state("fp32") is RunState.CANCELLED


def test_a_generation_that_ends_as_it_is_stopped_is_done() -> None:
    scheduler = in_state(RunState.GENERATING)
    scheduler.stop()
    assert scheduler.handle("fp32", EngineEvent.GENERATED) == act(Verb.END, "fp32")
    assert scheduler.state("fp32") is RunState.DONE
    assert scheduler.handle("fp32", EngineEvent.EXITED) == []


def test_a_text_that_ends_as_it_is_stopped_is_not_scored() -> None:
    scheduler = Scheduler(("fp32",), scores=True, reference="fp32")
    scheduler.begin()
    scheduler.handle("fp32", EngineEvent.HELLO)
    scheduler.handle("fp32", EngineEvent.LOADED)
    assert scheduler.stop() == act(Verb.ASK_TO_STOP, "fp32")
    assert scheduler.handle("fp32", EngineEvent.GENERATED) == act(Verb.END, "fp32")
    assert scheduler.state("fp32") is RunState.DONE


def test_stop_leaves_what_is_done() -> None:
    scheduler = in_state(RunState.DONE)
    assert scheduler.stop() == []
    assert states(scheduler) == [RunState.DONE, *[RunState.CANCELLED] * 3]


def test_stop_before_the_beginning_leaves_nothing_to_do() -> None:
    scheduler = Scheduler(NAMES)
    assert scheduler.stop() == []
    assert scheduler.begin() == []
    assert scheduler.is_finished


def through(scheduler: Scheduler, *happenings: tuple[str, EngineEvent]) -> list[list[Action]]:
    return [scheduler.handle(name, event) for name, event in happenings]


def load(scheduler: Scheduler, name: str) -> list[Action]:
    """Take a run from started to loaded. Returns the next actions."""
    scheduler.handle(name, EngineEvent.HELLO)
    return scheduler.handle(name, EngineEvent.LOADED)


def test_rounds_begin_one_place_later_each() -> None:
    assert order_turns("abc", 3) == [*"abc", *"bca", *"cab"]
    assert order_turns("ab", 1) == ["a", "b"]


def test_each_round_is_a_new_engine() -> None:
    scheduler = Scheduler(("fp32", "nf4"), rounds=2)
    order = []
    actions = scheduler.begin()
    while actions:
        ((verb, name),) = actions
        assert verb is Verb.START
        order.append(name)
        assert load(scheduler, name) == act(Verb.GENERATE, name)
        assert scheduler.handle(name, EngineEvent.GENERATED) == act(Verb.END, name)
        waits = name in order[:-1]
        assert scheduler.state(name) is (RunState.DONE if waits else RunState.QUEUED)
        actions = scheduler.handle(name, EngineEvent.EXITED)
    assert order == ["fp32", "nf4", "nf4", "fp32"]
    assert scheduler.is_finished


def test_a_failure_ends_all_rounds_of_its_precision() -> None:
    scheduler = Scheduler(("fp32", "nf4"), rounds=2)
    scheduler.begin()
    scheduler.handle("fp32", EngineEvent.FAILED)
    assert scheduler.handle("fp32", EngineEvent.EXITED) == act(Verb.START, "nf4")
    load(scheduler, "nf4")
    scheduler.handle("nf4", EngineEvent.GENERATED)
    assert scheduler.handle("nf4", EngineEvent.EXITED) == act(Verb.START, "nf4")
    assert scheduler.state("fp32") is RunState.FAILED


def test_a_stop_in_a_round_leaves_no_run_done_that_misses_rounds() -> None:
    scheduler = Scheduler(("fp32", "nf4"), rounds=2)
    scheduler.begin()
    load(scheduler, "fp32")
    assert scheduler.stop() == act(Verb.ASK_TO_STOP, "fp32")
    scheduler.handle("fp32", EngineEvent.GENERATED)
    assert states(scheduler, ("fp32", "nf4")) == [RunState.CANCELLED] * 2


def test_kept_engines_write_again_without_loading() -> None:
    scheduler = Scheduler(("fp32", "nf4"), keep_loaded=True)
    scheduler.begin()
    load(scheduler, "fp32")
    assert scheduler.handle("fp32", EngineEvent.GENERATED) == act(Verb.START, "nf4")
    load(scheduler, "nf4")
    assert scheduler.handle("nf4", EngineEvent.GENERATED) == []
    assert scheduler.is_finished
    assert scheduler.loaded == ("fp32", "nf4")

    again = Scheduler(("fp32", "bf16", "nf4"), keep_loaded=True, loaded=scheduler.loaded)
    assert again.begin() == act(Verb.GENERATE, "fp32")
    assert again.handle("fp32", EngineEvent.GENERATED) == act(Verb.START, "bf16")
    load(again, "bf16")
    assert again.handle("bf16", EngineEvent.GENERATED) == act(Verb.GENERATE, "nf4")


def test_the_coldest_engine_makes_room_first() -> None:
    scheduler = Scheduler(
        ("fp32",), keep_loaded=True, loaded=("nf4", "int8"), has_room=lambda name, kept: len(kept) < 1
    )
    assert scheduler.begin() == act(Verb.END, "nf4")
    assert scheduler.state("fp32") is RunState.QUEUED
    assert scheduler.handle("nf4", EngineEvent.EXITED) == act(Verb.END, "int8")
    assert scheduler.handle("int8", EngineEvent.EXITED) == act(Verb.START, "fp32")


def test_an_engine_that_has_just_written_is_the_warmest() -> None:
    scheduler = Scheduler(("fp32",), keep_loaded=True, loaded=("fp32", "nf4"))
    scheduler.begin()
    scheduler.handle("fp32", EngineEvent.GENERATED)
    assert scheduler.loaded == ("nf4", "fp32")


def test_keeping_no_longer_ends_what_is_idle() -> None:
    scheduler = Scheduler(("fp32",), keep_loaded=True, loaded=("nf4",))
    scheduler.begin()
    assert scheduler.keep_loaded(False) == act(Verb.END, "nf4")
    load(scheduler, "fp32")
    assert scheduler.handle("fp32", EngineEvent.GENERATED) == act(Verb.END, "fp32")
    assert scheduler.keep_loaded(True) == []


def test_an_idle_engine_that_dies_is_not_waited_for() -> None:
    scheduler = Scheduler(("fp32",), keep_loaded=True, loaded=("nf4", "fp32"))
    assert scheduler.handle("nf4", EngineEvent.EXITED) == act(Verb.GENERATE, "fp32")
    scheduler.handle("fp32", EngineEvent.GENERATED)
    scheduler.handle("fp32", EngineEvent.EXITED)
    assert scheduler.state("fp32") is RunState.DONE
    assert scheduler.is_finished


def test_an_engine_of_no_use_leaves_before_anything_is_started() -> None:
    scheduler = Scheduler(("fp32",), loaded=("fp32",))
    assert scheduler.unload("fp32") == act(Verb.END, "fp32")
    assert scheduler.begin() == []
    assert not scheduler.is_finished
    assert scheduler.handle("fp32", EngineEvent.EXITED) == act(Verb.START, "fp32")
    assert scheduler.unload("fp32") == []


def test_what_has_still_to_leave_is_waited_for() -> None:
    scheduler = Scheduler(("fp32",), ending=("fp32", "nf4"))
    assert scheduler.ending == ("fp32", "nf4")
    assert scheduler.begin() == []
    assert scheduler.handle("nf4", EngineEvent.EXITED) == []
    assert scheduler.handle("fp32", EngineEvent.EXITED) == act(Verb.START, "fp32")
    assert scheduler.state("fp32") is RunState.STARTING


def test_a_refused_prompt_leaves_a_kept_engine_alone() -> None:
    scheduler = Scheduler(("fp32", "nf4"), keep_loaded=True, loaded=("fp32", "nf4"))
    scheduler.begin()
    assert scheduler.handle("fp32", EngineEvent.REFUSED) == act(Verb.GENERATE, "nf4")
    assert scheduler.state("fp32") is RunState.FAILED
    assert scheduler.handle("nf4", EngineEvent.FAILED) == act(Verb.END, "nf4")
    assert scheduler.loaded == ("fp32",)


def test_in_a_race_all_load_one_after_another_and_write_at_once() -> None:
    scheduler = Scheduler(("fp32", "int8", "nf4"), race=True)
    assert scheduler.begin() == act(Verb.START, "fp32")
    assert load(scheduler, "fp32") == act(Verb.START, "int8")
    assert scheduler.state("fp32") is RunState.READY
    scheduler.handle("int8", EngineEvent.FAILED)
    assert scheduler.handle("int8", EngineEvent.EXITED) == act(Verb.START, "nf4")
    assert load(scheduler, "nf4") == act(Verb.GENERATE, "fp32") + act(Verb.GENERATE, "nf4")
    assert scheduler.handle("nf4", EngineEvent.GENERATED) == act(Verb.END, "nf4")
    assert scheduler.handle("nf4", EngineEvent.EXITED) == []
    assert scheduler.handle("fp32", EngineEvent.GENERATED) == act(Verb.END, "fp32")
    assert not scheduler.is_finished
    scheduler.handle("fp32", EngineEvent.EXITED)
    assert scheduler.is_finished


def test_a_run_that_waits_for_the_race_can_be_stopped() -> None:
    scheduler = Scheduler(("fp32", "nf4"), race=True)
    scheduler.begin()
    load(scheduler, "fp32")
    assert scheduler.stop() == act(Verb.END, "fp32") + act(Verb.END, "nf4")
    assert states(scheduler, ("fp32", "nf4")) == [RunState.CANCELLED] * 2


def test_one_that_waits_for_the_race_is_not_let_go() -> None:
    scheduler = Scheduler(("fp32", "nf4"), race=True)
    scheduler.begin()
    load(scheduler, "fp32")
    assert scheduler.idle == ()
    assert scheduler.unload("fp32") == []


def test_one_run_goes_again_and_the_rest_stays() -> None:
    scheduler = Scheduler(("fp32", "nf4"))
    scheduler.begin()
    load(scheduler, "fp32")
    scheduler.handle("fp32", EngineEvent.GENERATED)
    scheduler.handle("fp32", EngineEvent.EXITED)
    scheduler.queue("nf4")  # its turn is already queued
    scheduler.queue("fp32")
    assert scheduler.begin() == []
    load(scheduler, "nf4")
    scheduler.handle("nf4", EngineEvent.GENERATED)
    assert scheduler.handle("nf4", EngineEvent.EXITED) == act(Verb.START, "fp32")
    assert scheduler.state("nf4") is RunState.DONE


def test_a_precision_is_added_and_removed() -> None:
    scheduler = in_state(RunState.GENERATING)
    scheduler.queue("fp4")
    assert scheduler.begin() == []
    assert scheduler.state("fp4") is RunState.QUEUED
    with pytest.raises(ValueError, match="fp32"):
        scheduler.remove("fp32")
    scheduler.stop()
    assert scheduler.remove("fp4") == []
    with pytest.raises(KeyError):
        scheduler.state("fp4")


def test_removing_a_run_ends_its_kept_engine() -> None:
    scheduler = Scheduler(("fp32",), keep_loaded=True, loaded=("fp32",))
    scheduler.begin()
    scheduler.handle("fp32", EngineEvent.GENERATED)
    assert scheduler.remove("fp32") == act(Verb.END, "fp32")
    assert scheduler.handle("fp32", EngineEvent.EXITED) == []


class AnyOrder(RuleBasedStateMachine):
    """Everything that can happen, in any order, expected or not."""

    @initialize(
        count=st.integers(1, 4),
        rounds=st.integers(1, 3),
        race=st.booleans(),
        keep=st.booleans(),
        scores=st.booleans(),
        last=st.booleans(),
    )
    def begin(self, count: int, rounds: int, race: bool, keep: bool, scores: bool, last: bool) -> None:
        self.names = NAMES[:count]
        self.race, self.keep, self.rounds = race, keep, rounds
        reference = self.names[-1 if last else 0]
        self.scheduler = Scheduler(
            self.names, rounds=rounds, race=race, keep_loaded=keep, scores=scores, reference=reference
        )
        self.ended: set[str] = set()
        self.alive: set[str] = set()
        self.started: list[str] = []
        self.finals: dict[str, RunState] = {}
        self.stopped = False
        self.carry_out(self.scheduler.begin())

    def carry_out(self, actions: list[Action]) -> None:
        for verb, name in actions:
            if verb is Verb.START:
                assert not self.stopped
                assert name not in self.alive
                self.started.append(name)
                self.alive.add(name)
            else:
                assert name in self.alive - self.ended, f"{verb} goes to an engine that is gone"
            if verb is Verb.END:
                self.ended.add(name)
            if verb is Verb.SCORE:
                assert not [other for other in self.names if self.scheduler.state(other) is RunState.GENERATING]
            if verb is Verb.GENERATE and not self.race:
                busy = [other for other in self.names if self.scheduler.state(other) is RunState.GENERATING]
                assert busy == [name]

    @rule(
        index=st.integers(0, 3), event=st.sampled_from([kind for kind in EngineEvent if kind is not EngineEvent.EXITED])
    )
    def something_happens(self, index: int, event: EngineEvent) -> None:
        name = self.names[index % len(self.names)]
        if name in self.started and (event is not EngineEvent.STUCK or self.stopped):
            before = self.scheduler.state(name)
            actions = self.scheduler.handle(name, event)
            if before.is_final:
                assert actions == []
            self.carry_out(actions)

    @precondition(lambda self: self.alive)
    @rule(index=st.integers(0, 3))
    def an_engine_exits(self, index: int) -> None:
        name = sorted(self.alive)[index % len(self.alive)]
        self.alive.discard(name)
        self.ended.discard(name)
        self.carry_out(self.scheduler.handle(name, EngineEvent.EXITED))

    @rule()
    def a_person_stops(self) -> None:
        self.stopped = True
        self.carry_out(self.scheduler.stop())

    @invariant()
    def one_engine_at_most_is_alive_unless_asked_for(self) -> None:
        if hasattr(self, "alive") and not self.keep and not self.race:
            assert len(self.alive) <= 1

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
            over = not self.ended and all(self.scheduler.state(name).is_final for name in self.names)
            assert self.scheduler.is_finished is over
            assert not over or self.alive == set(self.scheduler.loaded)
            assert not over or self.keep or not self.alive

    def teardown(self) -> None:
        """In any state, a stop and the engines' answers to it end everything."""
        if not hasattr(self, "names"):
            return
        self.a_person_stops()
        for name in list(self.alive):
            self.carry_out(self.scheduler.handle(name, EngineEvent.STUCK))
            assert self.scheduler.state(name).is_final
        for name in list(self.ended):
            self.an_engine_exits(sorted(self.alive).index(name))
        assert self.scheduler.is_finished
        order = order_turns(self.names, self.rounds)
        assert all(self.started.count(name) <= order.count(name) for name in self.names)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


# ---- scoring --------------------------------------------------------------------------------------------------------


def drive(scheduler: Scheduler, actions: Iterable[Action], *, most: int = 200) -> list[str]:
    """Carry out the actions and what follows, at once and without failures. Returns the steps in order."""
    pending, done = list(actions), []
    answers = {
        Verb.START: EngineEvent.HELLO,
        Verb.LOAD: EngineEvent.LOADED,
        Verb.GENERATE: EngineEvent.GENERATED,
        Verb.SCORE: EngineEvent.SCORED,
        Verb.END: EngineEvent.EXITED,
    }
    while pending:
        verb, name = pending.pop(0)
        done.append(f"{verb} {name}")
        assert len(done) < most
        pending += scheduler.handle(name, answers[verb])
    return [step for step in done if step.startswith((Verb.GENERATE, Verb.SCORE))]


def test_each_run_is_scored_after_its_text() -> None:
    scheduler = Scheduler(["fp32", "nf4"], scores=True, reference="fp32")
    assert drive(scheduler, scheduler.begin()) == ["generate fp32", "score fp32", "generate nf4", "score nf4"]
    assert scheduler.is_finished and states_of(scheduler, "fp32", "nf4") == [RunState.DONE] * 2


def test_of_a_benchmark_the_reference_is_scored_after_its_first_text_and_the_others_after_their_last() -> None:
    scheduler = Scheduler(["fp32", "nf4"], rounds=2, scores=True, reference="fp32")
    assert drive(scheduler, scheduler.begin()) == [
        "generate fp32",
        "score fp32",
        "generate nf4",
        "generate nf4",
        "score nf4",
        "generate fp32",
    ]
    assert states_of(scheduler, "fp32", "nf4") == [RunState.DONE] * 2


@pytest.mark.parametrize("keep", [True, False])
def test_after_a_race_one_is_scored_after_another_the_reference_first(keep: bool) -> None:
    scheduler = Scheduler(["nf4", "fp32"], race=True, scores=True, reference="fp32", keep_loaded=keep)
    assert drive(scheduler, scheduler.begin()) == ["generate nf4", "generate fp32", "score fp32", "score nf4"]
    assert scheduler.is_finished and scheduler.idle == (("fp32", "nf4") if keep else ())


def scoring_state() -> Scheduler:
    scheduler = Scheduler(["fp32", "nf4"], scores=True, reference="fp32")
    scheduler.begin()
    for event in (EngineEvent.HELLO, EngineEvent.LOADED):
        scheduler.handle("fp32", event)
    assert scheduler.handle("fp32", EngineEvent.GENERATED) == act(Verb.SCORE, "fp32")
    assert scheduler.state("fp32") is RunState.SCORING and scheduler.idle == ()
    return scheduler


def test_stopping_a_score_leaves_the_text() -> None:
    scheduler = scoring_state()
    assert scheduler.stop() == act(Verb.ASK_TO_STOP, "fp32")
    assert scheduler.handle("fp32", EngineEvent.SCORED) == act(Verb.END, "fp32")
    assert states_of(scheduler, "fp32", "nf4") == [RunState.DONE, RunState.CANCELLED]


def test_an_engine_that_does_not_stop_scoring_is_ended() -> None:
    scheduler = scoring_state()
    scheduler.stop()
    assert scheduler.handle("fp32", EngineEvent.STUCK) == act(Verb.END, "fp32")
    assert scheduler.state("fp32") is RunState.DONE


def test_an_engine_that_dies_while_it_scores_fails_its_run_and_the_rest_goes_on() -> None:
    scheduler = scoring_state()
    assert scheduler.handle("fp32", EngineEvent.EXITED) == act(Verb.START, "nf4")
    assert scheduler.state("fp32") is RunState.FAILED


def test_what_waits_to_be_scored_is_done_when_all_is_stopped() -> None:
    scheduler = Scheduler(["fp32", "nf4"], race=True, scores=True, reference="fp32")
    pending = scheduler.begin()
    while pending[0].verb is not Verb.GENERATE:
        verb, name = pending[0]
        pending = scheduler.handle(name, EngineEvent.HELLO if verb is Verb.START else EngineEvent.LOADED)
    assert scheduler.handle("nf4", EngineEvent.GENERATED) == []
    assert scheduler.handle("fp32", EngineEvent.GENERATED) == act(Verb.SCORE, "fp32")
    assert scheduler.stop() == [Action(Verb.ASK_TO_STOP, "fp32"), Action(Verb.END, "nf4")]
    assert scheduler.state("nf4") is RunState.DONE


def test_a_run_that_goes_again_is_scored_again() -> None:
    scheduler = Scheduler(["fp32"], scores=True, reference="fp32")
    drive(scheduler, scheduler.begin())
    scheduler.queue("fp32")
    assert drive(scheduler, scheduler.begin()) == ["generate fp32", "score fp32"]


def states_of(scheduler: Scheduler, *names: str) -> list[RunState]:
    return [scheduler.state(name) for name in names]
