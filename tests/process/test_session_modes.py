"""A session's other modes: kept engines, rounds, a race, and later changes."""

import itertools
from collections.abc import Iterator, Mapping

import psutil
import pytest
from msgspec.structs import replace
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import Mode, RunState
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.memory.estimate import Estimate, Verdict, WeightKinds
from qplayground.core.memory.fit import Fit
from qplayground.core.messages.events import Failed, Generated, Hello, PhaseStarted
from qplayground.core.placement import Placement
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.runtime.comparison import plan_state
from qplayground.runtime.comparison.engines import Engines
from qplayground.runtime.comparison.request import ComparisonRequest
from qplayground.runtime.processes.launcher import Launcher
from tests.fakes.engine import FAILURE
from tests.process.stages import FAKE, MODEL, Stage, recipes, request, run, wanted


@pytest.fixture
def stage(qtbot: QtBot) -> Iterator[Stage]:
    stage = Stage(qtbot, Launcher(FAKE))
    yield stage
    stage.session.close()


def loads(stage: Stage, name: str) -> int:
    return stage.phases(name).count("load") + stage.phases(name).count("quantize")


# ---- keeping engines ------------------------------------------------------------------------------------------------


def test_kept_engines_answer_another_prompt_without_loading(stage: Stage, qtbot: QtBot) -> None:
    stage.session.set_keep_loaded(True)
    first = run(stage, qtbot, "once upon", "fp32", "nf4")
    kept = set(stage.engines())
    assert len(kept) == 2
    assert list(stage.session.loaded) == ["fp32", "nf4"]
    loaded = first.run("nf4").load

    again = run(stage, qtbot, "another prompt here", "fp32", "nf4")

    assert set(stage.engines()) == kept
    assert loads(stage, "fp32") == loads(stage, "nf4") == 1
    assert [(done.state, len(done.token_ids)) for done in again.runs] == [(RunState.DONE, 8)] * 2
    assert again.run("nf4").load.kept
    assert again.run("nf4").load.seconds == loaded.seconds
    assert not loaded.kept
    assert again.run("nf4").device_map == {"": "cpu"}


def test_keeping_no_longer_gives_the_memory_back(stage: Stage, qtbot: QtBot) -> None:
    stage.session.set_keep_loaded(True)
    run(stage, qtbot, "once", "fp32", "nf4")
    stage.session.set_keep_loaded(False)
    qtbot.waitUntil(lambda: stage.engines() == [], timeout=5000)
    assert not stage.session.loaded


@pytest.mark.parametrize("change", ["recipe", "device", "model"])
def test_an_engine_that_holds_something_else_is_not_asked(stage: Stage, qtbot: QtBot, change: str) -> None:
    stage.session.set_keep_loaded(True)
    run(stage, qtbot, "once", "int8")
    (before,) = stage.engines()
    precisions = list(recipes(["int8"]))
    model, device = MODEL, "auto"
    if change == "recipe":
        precisions[0] = replace(precisions[0], quantization=Int8(threshold=3.0))
    elif change == "device":
        device = "cpu"
    else:
        model = replace(MODEL, path="/elsewhere")
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.compare(
            model,
            ComparisonRequest(
                precisions=tuple(precisions), request=request("once"), placement=Placement(device=device)
            ),
        )
    assert stage.run("int8").state is RunState.DONE
    assert not stage.run("int8").load.kept
    assert loads(stage, "int8") == 2
    assert before not in stage.engines()


def test_the_coldest_engine_goes_when_room_is_needed(
    stage: Stage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first load reports the memory of all precisions."""
    verdicts = {"bf16": Verdict.TIGHT, "int8": Verdict.FITS, "nf4": Verdict.WONT_FIT, "fp4": Verdict.UNKNOWN}
    asked: list[str] = []

    def fit(estimates: list[Estimate], **_terms: bool) -> Fit:
        asked.append(estimates[0].precision)
        return Fit(verdicts[estimates[0].precision])

    monkeypatch.setattr(plan_state, "fit_now", fit)
    stage.session.set_keep_loaded(True)
    kept: list[list[str]] = []
    stage.session.loaded_changed.connect(lambda loaded: kept.append(list(loaded)))
    run(stage, qtbot, "once", "fp32", "bf16", "int8", "nf4", "fp4")
    assert kept[:3] == [["fp32"], ["fp32", "bf16"], ["bf16", "int8"]]  # nf4 needs all memory
    assert kept[-1] == ["fp4"] and len(stage.engines()) == 1
    assert asked[:3] == ["bf16", "int8", "nf4"]


@pytest.mark.parametrize(
    ("how", "case"),
    [
        *itertools.product(["compare", "add"], ["of use", "another text", "placed by what is free on a GPU"]),
        ("run again", "of use"),  # the first load reported its memory; only what is shown now overrides it
    ],
)
def test_kept_engines_stay_when_what_is_known_of_the_next_one_says_that_it_fits(
    stage: Stage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, how: str, case: str
) -> None:
    """No load could report it, because the other engines are already loaded."""
    asked: list[Estimate] = []

    def fit(estimates: list[Estimate | None], **_terms: bool) -> Fit:
        asked.extend(filter(None, estimates))
        return Fit(Verdict.UNKNOWN if None in estimates else Verdict.FITS)

    gpus = int(case == "placed by what is free on a GPU")  # with "auto" placement
    take = plan_state.PlanState.record_estimates

    def record_estimates(state: plan_state.PlanState, estimates: Mapping[str, Estimate], **_machine: int) -> None:
        take(state, estimates, gpus=gpus)

    monkeypatch.setattr(plan_state, "fit_now", fit)
    monkeypatch.setattr(plan_state.PlanState, "record_estimates", record_estimates)
    stage.session.set_keep_loaded(True)
    run(stage, qtbot, "once", "fp32", "int8", *(["nf4"] if how == "run again" else []))
    if how == "run again":
        stage.session.unload("nf4")
        qtbot.waitUntil(lambda: len(stage.engines()) == 2, timeout=5000)
    before = stage.engines()
    asked.clear()
    shown = Estimate(precision="nf4", by_kind=WeightKinds(quantized=8), kv_cache_bytes=16)
    if case == "another text":
        shown = shown.without_text
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        if how == "compare":
            stage.session.compare(MODEL, wanted(["fp32", "int8", "nf4"], "twice"), {"nf4": shown})
        elif how == "add":
            stage.session.add(next(iter(recipes(["nf4"]))), shown)
        else:
            stage.session.run_again("nf4", shown)
    stay = case == "of use"
    assert set(before) < set(stage.engines()) if stay else not set(before) & set(stage.engines())
    assert "nf4" in stage.session.loaded and asked == ([shown] if stay else [])


def test_an_idle_engine_that_is_killed_is_loaded_again(stage: Stage, qtbot: QtBot) -> None:
    stage.session.set_keep_loaded(True)
    run(stage, qtbot, "once", "fp32")
    (pid,) = stage.engines()
    with qtbot.waitSignal(stage.session.log_added, timeout=5000):
        psutil.Process(pid).kill()
    assert stage.run("fp32").state is RunState.DONE
    assert not stage.session.loaded
    assert run(stage, qtbot, "twice", "fp32").run("fp32").state is RunState.DONE


# ---- changes to a finished comparison -------------------------------------------------------------------------------


def test_one_precision_runs_again_and_the_rest_stays(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "fp32", "nf4")
    before = stage.run("fp32").load.seconds
    cleared: list[str] = []
    stage.session.run_cleared.connect(cleared.append)
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.run_again("nf4")
        assert stage.session.is_busy
        assert stage.run("nf4").token_ids == []
        assert stage.run("nf4").speed.decode_tokens_per_s is None
    assert cleared == ["nf4"]
    assert loads(stage, "fp32") == 1 and loads(stage, "nf4") == 2
    assert stage.run("fp32").load.seconds == before
    assert len(stage.run("nf4").tokens) == len(stage.run("nf4").token_ids) == 8


def test_a_precision_is_added_to_a_finished_comparison(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "int8")
    assert stage.comparison.baseline == "int8"
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.add(recipes(["fp32"])[0])
    assert stage.outcomes() == {"int8": RunState.DONE, "fp32": RunState.DONE}
    assert stage.comparison.baseline == "fp32"
    assert loads(stage, "int8") == 1
    with pytest.raises(PlaygroundError):
        stage.session.add(recipes(["fp32"])[0])


def test_nothing_can_be_added_to_nothing(stage: Stage) -> None:
    with pytest.raises(PlaygroundError):
        stage.session.add(recipes(["fp32"])[0])


def test_a_run_is_removed_and_the_baseline_follows(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "fp32", "bf16", "nf4")
    with qtbot.waitSignal(stage.session.comparison_changed):
        stage.session.remove("fp32")
    assert list(stage.outcomes()) == ["bf16", "nf4"]
    assert stage.comparison.baseline == "bf16"
    stage.session.remove("bf16")
    stage.session.remove("nf4")  # the last run stays
    assert list(stage.outcomes()) == ["nf4"]


def test_runs_are_shown_in_another_order(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "fp32", "bf16", "nf4")
    stage.session.move("nf4", 0)
    assert list(stage.outcomes()) == ["nf4", "fp32", "bf16"]
    stage.session.move("nf4", 99)
    assert list(stage.outcomes()) == ["fp32", "bf16", "nf4"]
    assert len(stage.said) and stage.said.count(("started",)) == 1


def test_divergence_is_from_the_baseline_that_is_chosen(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "fp32", "bf16", "nf4")

    def first(name: str) -> int | None:
        divergence = stage.run(name).divergence
        assert divergence is not None
        return divergence.first_token

    assert [first(name) for name in ("fp32", "bf16", "nf4")] == [None, None, 4]
    stage.session.set_baseline("nf4")
    assert stage.comparison.baseline == "nf4"
    assert [first(name) for name in ("fp32", "bf16", "nf4")] == [4, 4, None]


def test_the_default_baseline_is_one_that_ran(stage: Stage, qtbot: QtBot) -> None:
    assert run(stage, qtbot, "fp32=exit-loading", "fp32", "bf16", "nf4").baseline == "bf16"
    chosen = run(stage, qtbot, "fp32=exit-loading", "fp32", "bf16", "nf4", baseline="fp32")
    assert chosen.baseline == "fp32"
    assert all(done.divergence is None for done in chosen.runs)


# ---- a benchmark and a race -----------------------------------------------------------------------------------------


def test_a_benchmark_keeps_every_sample(stage: Stage, qtbot: QtBot) -> None:
    comparison = run(stage, qtbot, "once", "fp32", "nf4", mode=Mode.BENCHMARK, rounds=3)
    assert (comparison.mode, comparison.rounds) == (Mode.BENCHMARK, 3)
    for done in comparison.runs:
        assert done.state is RunState.DONE
        assert len(done.token_ids) == 8
        speed = done.speed
        assert speed.samples is not None and speed.ttft_samples is not None and speed.prefill_samples is not None
        assert speed.samples.n == speed.ttft_samples.n == speed.prefill_samples.n == 3
        assert speed.decode_tokens_per_s == speed.samples.median
        assert speed.ttft_s == speed.ttft_samples.median
        assert done.load.samples is not None and done.load.samples.n == 3
        assert loads(stage, done.id) == 3
        assert done.tokens[0].probability is None
    assert stage.most_engines <= 1


def test_a_benchmark_of_kept_engines_loads_once(stage: Stage, qtbot: QtBot) -> None:
    stage.session.set_keep_loaded(True)
    comparison = run(stage, qtbot, "once", "fp32", "nf4", mode=Mode.BENCHMARK, rounds=3)
    assert [loads(stage, name) for name in ("fp32", "nf4")] == [1, 1]
    samples = comparison.run("nf4").speed.samples
    assert samples is not None and samples.n == 3


@pytest.mark.parametrize(
    ("settings", "rounds"),
    [(GenerationSettings(do_sample=True), 5), (GenerationSettings(), 0), (GenerationSettings(), 101)],
)
def test_a_benchmark_that_says_nothing_is_refused(stage: Stage, settings: GenerationSettings, rounds: int) -> None:
    with pytest.raises(PlaygroundError) as refused:
        stage.session.compare(
            MODEL,
            ComparisonRequest(
                precisions=tuple(recipes(["fp32"])),
                request=GenerationRequest(prompt="once", settings=settings),
                mode=Mode.BENCHMARK,
                rounds=rounds,
            ),
        )
    assert refused.value.info.code is ErrorCode.BAD_SETTINGS


def test_a_race_writes_at_once(stage: Stage, qtbot: QtBot) -> None:
    writing: list[set[str]] = []

    def note(name: str, event: PhaseStarted) -> None:
        states = {done.id for done in stage.comparison.runs if done.state is RunState.GENERATING}
        if event.phase == "prefill":
            writing.append(states)

    stage.session.phase_started.connect(note)
    comparison = run(stage, qtbot, "once", "fp32", "bf16", "nf4", mode=Mode.RACE)
    assert {"fp32", "bf16", "nf4"} in writing
    assert [done.state for done in comparison.runs] == [RunState.DONE] * 3
    qtbot.waitUntil(lambda: stage.engines() == [])


def test_a_race_is_stopped_while_it_loads(stage: Stage, qtbot: QtBot) -> None:
    stage.session.compare(MODEL, wanted(["fp32", "nf4"], "nf4=hang-loading", mode=Mode.RACE))
    qtbot.waitUntil(lambda: stage.run("fp32").state is RunState.READY, timeout=10_000)
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=5000):
        stage.session.stop()
    assert set(stage.outcomes().values()) == {RunState.CANCELLED}
    assert stage.engines() == []


# ---- what comes too late --------------------------------------------------------------------------------------------


def test_what_an_engine_says_of_a_run_that_was_given_up_changes_nothing(stage: Stage, qtbot: QtBot) -> None:
    engines = stage.session.findChild(Engines)
    assert isinstance(engines, Engines)
    hellos: list[Hello] = []
    engines.greeted.connect(lambda _name, hello: hellos.append(hello))
    stage.start("hang-loading", ["fp32"])
    qtbot.waitUntil(lambda: stage.run("fp32").state is RunState.LOADING, timeout=10_000)
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=5000):
        stage.session.stop()
        engines.said.emit("fp32", Failed(1, FAILURE.info))
        engines.said.emit(
            "fp32",
            Generated(
                command_id=1,
                text="late",
                finish_reason="length",
                ttft_s=1.0,
                prefill_tokens_per_s=1.0,
                decode_tokens_per_s=1.0,
                memory=hellos[0].memory,
                peak_resident_bytes=1,
                weight_bytes=1,
            ),
        )
    given_up = stage.run("fp32")
    assert (given_up.state, given_up.error, given_up.text) == (RunState.CANCELLED, None, "")
    assert given_up.finish_reason == "cancelled"


def test_a_closed_session_does_nothing_more(stage: Stage) -> None:
    stage.session.close()
    stage.session.probe()
    with pytest.raises(PlaygroundError):
        stage.start("once", ["fp32"])
    assert stage.engines() == []


# ---- at awkward moments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["unkept", "removed"])
def test_comparing_while_an_engine_leaves_waits_for_it(stage: Stage, qtbot: QtBot, how: str) -> None:
    stage.session.set_keep_loaded(True)
    run(stage, qtbot, "once", "fp32", "nf4")
    if how == "unkept":
        stage.session.set_keep_loaded(False)
    else:
        stage.session.remove("fp32")
    again = run(stage, qtbot, "twice", "fp32", "nf4")  # at once: the engines have not ended yet
    assert [done.state for done in again.runs] == [RunState.DONE] * 2
    assert not again.run("fp32").load.kept
    stage.session.set_keep_loaded(False)
    qtbot.waitUntil(lambda: stage.engines() == [], timeout=5000)


def test_run_again_is_not_ended_by_the_stop_before_it(stage: Stage, qtbot: QtBot) -> None:
    stage.session.set_keep_loaded(True)
    stage.start("fp32=ignore-cancel nf4=slow", ["fp32", "nf4"])
    qtbot.waitUntil(lambda: len(stage.run("fp32").token_ids) > 2, timeout=10_000)
    stage.session.stop()
    stage.session.run_again("nf4")
    qtbot.waitUntil(lambda: stage.run("fp32").state is RunState.CANCELLED, timeout=5000)
    qtbot.waitUntil(lambda: len(stage.run("nf4").token_ids) > 2, timeout=10_000)
    assert stage.run("nf4").state is RunState.GENERATING
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=5000):
        stage.session.stop()


def test_only_those_that_raced_say_so(stage: Stage, qtbot: QtBot) -> None:
    raced = run(stage, qtbot, "once", "fp32", "nf4", mode=Mode.RACE)
    assert [one.beside for one in raced.runs] == [1, 1]
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.run_again("nf4")
    assert stage.run("nf4").beside == 0
    assert stage.run("fp32").beside == 1


def test_the_marks_of_others_go_while_the_baseline_runs_again(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "fp32", "nf4")
    assert stage.run("nf4").divergence is not None
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.run_again("fp32")
        assert stage.run("nf4").divergence is None
    assert stage.run("nf4").divergence is not None
