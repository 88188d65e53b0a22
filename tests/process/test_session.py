"""Comparisons over the scripted engine, forked and spawned: complete, broken and stopped ones."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest
from PySide6.QtCore import QThread
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import Comparison, RunState
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError
from qplayground.core.generation import GenerationRequest
from qplayground.core.messages.events import Hello, Phase, Progressed
from qplayground.core.model import ModelEntry
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.runtime.comparison.request import ComparisonRequest
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.processes.launcher import Launcher
from tests.fakes import engine as fake
from tests.process.stages import FAKE, FOUR, MODEL, Stage, engines, recipes, request, wanted

STOP_LIMIT_S = 1.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and fork servers as Linux has them")


@pytest.fixture(params=["fork", "spawn"])
def stage(request: pytest.FixtureRequest, qtbot: QtBot) -> Iterator[Stage]:
    launcher = Launcher(FAKE, fork=request.param == "fork")
    if launcher.forks:
        with launcher.engine() as first:  # from now on the fork server answers at once
            first.kill()
    stage = Stage(qtbot, launcher)
    yield stage
    stage.session.close()
    assert stage.most_engines <= 1
    assert not any(thread.isRunning() for thread in stage.session.findChildren(QThread))


# ---- a whole comparison -------------------------------------------------------------------------------------------


def test_four_precisions_one_after_another(stage: Stage) -> None:
    comparison = stage.compare("The future of AI is")
    way = [RunState.STARTING, RunState.LOADING, RunState.LOADING, RunState.GENERATING, RunState.DONE]
    assert stage.states == [(name, state) for name in FOUR for state in way]  # loading twice: its figures arrived
    assert stage.most_engines == 1
    assert (comparison.prompt, comparison.baseline, comparison.device) == ("The future of AI is", "fp32", "auto")
    assert [run.id for run in comparison.runs] == list(FOUR)
    assert stage.said[0] == ("started",)
    assert stage.said[-1] == ("finished",)


def test_every_figure_of_a_run_is_taken_over(stage: Stage) -> None:
    run = stage.compare("The future of AI is", ["nf4"]).runs[0]
    (recipe,) = recipes(["nf4"])
    assert run.token_ids == [fake.token_at(index, recipe) for index in range(8)]
    assert run.text == "".join(f" {fake.WORDS[token]}" for token in run.token_ids) == stage.texts("nf4")
    assert (run.prompt_tokens, run.finish_reason, run.device_map) == (5, "length", {"": "cpu"})
    assert run.load.seconds is not None
    assert run.speed.ttft_s is not None
    assert run.speed.decode_tokens_per_s is not None
    assert run.memory.weight_bytes == fake.weight_bytes(recipe)
    assert run.memory.resident_bytes is not None
    assert run.memory.runtime_bytes is not None
    assert run.memory.peak_resident_bytes is not None
    assert run.memory.peak_resident_bytes >= run.memory.resident_bytes > 1_000_000
    assert run.memory.vram_peak_bytes is None
    assert run.error is None
    assert stage.phases("nf4") == [
        *(Phase.START, Phase.QUANTIZE, Phase.COPY, Phase.WARM_UP, Phase.CHECK),
        *(Phase.PREFILL, Phase.DECODE),
    ]
    assert ("progress", "nf4", "Reading weights") in stage.said


def test_the_environment_and_the_model_are_filled_in(stage: Stage) -> None:
    known: list[Hello] = []
    stage.session.machine_known.connect(known.append)
    comparison = stage.compare("hello", ["fp32", "nf4"])
    assert comparison.environment is not None
    assert comparison.environment.cpu == "a fake processor"
    assert comparison.environment == stage.session.machine
    assert len(known) == 1
    (model,) = comparison.models
    assert model.id == "demo"
    assert (model.parameters, model.provenance) == (fake.PARAMETERS, "made up")
    assert stage.compare("again", ["nf4"]).environment == comparison.environment


def test_memory_is_sampled_while_it_runs(stage: Stage) -> None:
    stage.start("slow", ["nf4"])
    stage.wait_for(lambda: len(stage.samples) >= 3)
    stage.stop()
    assert {name for name, _ in stage.samples} == {"nf4"}
    assert all(sample.memory.resident_bytes > 1_000_000 for _, sample in stage.samples)


def test_a_flood_of_output_disturbs_nothing(stage: Stage) -> None:
    comparison = stage.compare("flood", ["fp32", "nf4"])
    assert set(stage.outcomes().values()) == {RunState.DONE}
    assert len(comparison.runs[1].token_ids) == 8


def test_late_events_are_dropped(stage: Stage) -> None:
    comparison = stage.compare("late", ["fp32", "nf4"])
    assert set(stage.outcomes().values()) == {RunState.DONE}
    assert "LATE" not in stage.texts("fp32") + stage.texts("nf4")
    assert all(len(run.token_ids) == 8 for run in comparison.runs)
    assert ("progress", "fp32", "An earlier load") not in stage.said
    assert stage.log == []


def test_a_probe_describes_the_machine_and_leaves_no_engine(stage: Stage, qtbot: QtBot) -> None:
    with qtbot.waitSignal(stage.session.machine_known, timeout=10_000) as known:
        stage.session.probe()
    assert known.args is not None
    assert known.args[0].model_types.causal == {"gpt2", "llama"}
    stage.wait_for(lambda: stage.engines() == [])
    assert stage.session.machine is not None
    assert stage.log == []
    assert stage.compare("hello", ["nf4"]).environment == stage.session.machine


# ---- what breaks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "code", "part"),
    [
        ("exit-loading", ErrorCode.ENGINE_DIED, "exit code 3"),
        ("exit-generating", ErrorCode.ENGINE_DIED, "exit code 3"),
        ("segfault-loading", ErrorCode.ENGINE_DIED, "signal 11"),
        ("segfault-generating", ErrorCode.ENGINE_DIED, "signal 11"),
        ("fail-loading", ErrorCode.UNSUPPORTED, "told to fail"),
        ("fail-generating", ErrorCode.UNSUPPORTED, "told to fail"),
        ("nonsense", ErrorCode.INTERNAL, "cannot be read"),
    ],
)
def test_what_breaks_in_one_leaves_the_others(stage: Stage, behaviour: str, code: ErrorCode, part: str) -> None:
    prompt = "nonsense" if behaviour == "nonsense" else f"int8={behaviour}"
    names = ["int8"] if behaviour == "nonsense" else ["fp32", "int8", "nf4"]
    stage.compare(prompt, names)
    assert stage.outcomes() == {name: RunState.FAILED if name == "int8" else RunState.DONE for name in names}
    error = stage.error("int8")
    assert error.code is code
    assert part in error.message
    assert error.hint
    assert [run.error for run in stage.comparison.runs if run.id != "int8"] == [None] * (len(names) - 1)
    if "exit" in behaviour:
        assert error.detail == f"Model: {MODEL.id}\n\nabout to exit"
    said_before = 3 if "generating" in behaviour or behaviour == "nonsense" else 0
    assert len(stage.run("int8").token_ids) == said_before
    assert stage.run("int8").text == stage.texts("int8")
    assert len(stage.log) == 1
    assert stage.log[0].startswith("int8: ")


def test_an_engine_that_is_killed_from_outside_ran_out_of_memory(stage: Stage) -> None:
    def kill_the_engine(name: str, tokens: object) -> None:
        if name == "bf16":
            for pid in stage.engines():
                os.kill(pid, signal.SIGKILL)

    stage.session.tokens_added.connect(kill_the_engine)
    stage.compare("bf16=slow", ["fp32", "bf16", "nf4"])
    assert stage.outcomes() == {"fp32": RunState.DONE, "bf16": RunState.FAILED, "nf4": RunState.DONE}
    assert stage.error("bf16").code is ErrorCode.OUT_OF_MEMORY
    assert stage.run("bf16").text.startswith(" to")


def test_a_comparison_after_a_fault_works(stage: Stage) -> None:
    first = stage.compare("segfault-loading", ["fp32"])
    second = stage.compare("hello", ["fp32", "nf4"])
    assert first.runs[0].state is RunState.FAILED
    assert second is not first
    assert [run.state for run in second.runs] == [RunState.DONE] * 2


def test_a_comparison_can_be_started_where_another_finished(stage: Stage) -> None:
    """A caller would start it in a slot of `comparison_finished`."""
    again: list[Comparison] = []

    def compare_again(comparison: Comparison) -> None:
        if not again:
            again.append(comparison)
            stage.start("hello", ["nf4"])

    stage.session.comparison_finished.connect(compare_again)
    stage.start("hello", ["fp32"])
    stage.wait_for(lambda: stage.said.count(("finished",)) == 2)
    stage.check_finished()
    assert stage.outcomes() == {"nf4": RunState.DONE}


# ---- stopping -----------------------------------------------------------------------------------------------------


def test_stop_while_starting(stage: Stage) -> None:
    stage.start("hello")
    assert stage.run("fp32").state is RunState.STARTING
    assert stage.stop() < STOP_LIMIT_S
    assert set(stage.outcomes().values()) == {RunState.CANCELLED}
    assert stage.run("fp32").finish_reason == "cancelled"
    assert {run.finish_reason for run in stage.comparison.runs if run.id != "fp32"} <= {None}  # they never ran
    assert all(run.error is None for run in stage.comparison.runs)


def test_stop_while_loading(stage: Stage) -> None:
    stage.start("fp32=hang-loading")
    stage.wait_for(lambda: ("progress", "fp32", "Reading weights") in stage.said)
    assert stage.run("fp32").state is RunState.LOADING
    assert stage.stop() < STOP_LIMIT_S
    assert set(stage.outcomes().values()) == {RunState.CANCELLED}
    assert all(run.error is None for run in stage.comparison.runs)


@pytest.mark.parametrize("behaviour", ["slow", "ignore-cancel", "hang-generating"])
def test_stop_while_generating_keeps_what_was_said(stage: Stage, behaviour: str) -> None:
    stage.start(f"bf16={behaviour}")
    stage.wait_for(lambda: len(stage.texts("bf16").split()) >= 3)
    assert stage.run("bf16").state is RunState.GENERATING
    assert stage.stop() < STOP_LIMIT_S
    assert stage.outcomes() == {
        "fp32": RunState.DONE,
        "bf16": RunState.CANCELLED,
        "int8": RunState.CANCELLED,
        "nf4": RunState.CANCELLED,
    }
    run = stage.run("bf16")
    assert run.text == stage.texts("bf16")
    assert run.text.startswith(f" {' '.join(fake.WORDS[:3])}")
    assert len(run.token_ids) >= 3
    assert (run.finish_reason, run.error) == ("cancelled", None)
    # only this one could still send its figures
    assert (run.memory.peak_resident_bytes is not None) == (behaviour == "slow")
    assert stage.run("int8").text == ""


def test_stop_that_is_pressed_again_and_again_is_no_slower(stage: Stage, qtbot: QtBot) -> None:
    stage.start("ignore-cancel", ["fp32", "nf4"])
    stage.wait_for(lambda: len(stage.texts("fp32").split()) >= 3)
    stage.session.tokens_added.connect(lambda name, tokens: stage.session.stop())
    assert stage.stop() < STOP_LIMIT_S
    assert set(stage.outcomes().values()) == {RunState.CANCELLED}


@pytest.mark.parametrize("at", [RunState.STARTING, RunState.LOADING, RunState.GENERATING, RunState.DONE])
@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_stop_from_a_slot_at_any_change(stage: Stage, at: RunState, name: str) -> None:
    def stop_there(changed: str) -> None:
        if changed == name and stage.run(name).state is at:
            stage.session.stop()

    stage.session.run_changed.connect(stop_there)
    stage.compare("fast=100", ["fp32", "bf16", "nf4"])
    assert stage.outcomes()["nf4"] is RunState.CANCELLED
    assert stage.outcomes()[name] in (RunState.DONE if at is RunState.DONE else RunState.CANCELLED, RunState.DONE)
    assert stage.outcomes()["fp32"] is RunState.DONE or name == "fp32"


def test_stop_from_the_slot_that_hears_of_the_start(stage: Stage) -> None:
    stage.session.comparison_started.connect(lambda comparison: stage.session.stop())
    stage.start("hello")
    assert not stage.session.is_busy
    assert set(stage.outcomes().values()) == {RunState.CANCELLED}
    assert stage.said == [("started",), ("finished",)]


def test_stop_without_a_comparison_does_nothing(stage: Stage) -> None:
    stage.session.stop()
    assert stage.said == []
    comparison = stage.compare("hello", ["nf4"])
    stage.session.stop()
    assert comparison.runs[0].state is RunState.DONE
    assert stage.said.count(("finished",)) == 1


def test_a_comparison_after_a_stop_works(stage: Stage) -> None:
    stage.start("ignore-cancel", ["fp32"])
    stage.wait_for(lambda: stage.texts("fp32") != "")
    stage.stop()
    stage.compare("hello", ["fp32", "nf4"])
    assert stage.outcomes() == {"fp32": RunState.DONE, "nf4": RunState.DONE}
    assert len(stage.run("fp32").token_ids) == 8


def test_a_fork_server_that_still_imports_holds_up_neither_stop_nor_close() -> None:
    """Runs in a separate interpreter, because a process has one fork server."""
    code = """
import time
from PySide6.QtCore import QCoreApplication, QTimer
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.comparison.request import ComparisonRequest
from qplayground.runtime.comparison.session import Session
from tests.process.stages import MODEL, wanted

app = QCoreApplication([])
session = Session(Launcher("tests.process.slow_import", fork=True))
session.comparison_finished.connect(lambda comparison: app.exit())
session.probe()
session.compare(MODEL, wanted(["fp32", "nf4"], "hello"))
QTimer.singleShot(200, session.stop)
app.exec()
print(not session.is_busy, {run.state.value for run in session.comparison.runs})
started = time.monotonic()
session.close()
print(time.monotonic() - started < 1)
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["True {'cancelled'}", "True", ""]
    assert time.monotonic() - started < 10  # the import takes 30 s


# ---- refusing -----------------------------------------------------------------------------------------------------


BAD_NAME = msgspec.structs.replace(READY_PRECISIONS[0], name="Not A Name")
PROBLEM = ErrorInfo(ErrorCode.GGUF_ONLY, "It is GGUF.", "Take another.")


@pytest.mark.parametrize(
    ("model", "precisions", "asked", "code"),
    [
        (MODEL, recipes(FOUR), request(" \n"), ErrorCode.EMPTY_PROMPT),
        (MODEL, recipes(FOUR), request("hello", tokens=0), ErrorCode.BAD_SETTINGS),
        (MODEL, recipes(FOUR), request("bytes \udcff"), ErrorCode.BAD_SETTINGS),
        (MODEL, [], request("hello"), ErrorCode.BAD_PRECISION),
        (MODEL, recipes(["nf4", "fp32", "nf4"]), request("hello"), ErrorCode.BAD_PRECISION),
        (MODEL, [BAD_NAME], request("hello"), ErrorCode.BAD_PRECISION),
        (msgspec.structs.replace(MODEL, complete=False), recipes(FOUR), request("hi"), ErrorCode.INCOMPLETE_DOWNLOAD),
        (msgspec.structs.replace(MODEL, path=None), recipes(FOUR), request("hi"), ErrorCode.INCOMPLETE_DOWNLOAD),
        (msgspec.structs.replace(MODEL, problem=PROBLEM), recipes(FOUR), request("hi"), ErrorCode.GGUF_ONLY),
        (msgspec.structs.replace(MODEL, path="/\udcff"), recipes(FOUR), request("hi"), ErrorCode.BAD_SETTINGS),
    ],
)
def test_what_cannot_be_compared_is_refused_and_changes_nothing(
    qtbot: QtBot, model: ModelEntry, precisions: list[Precision], asked: GenerationRequest, code: ErrorCode
) -> None:
    stage = Stage(qtbot, Launcher(FAKE, fork=False))
    with pytest.raises(PlaygroundError) as caught:
        stage.session.compare(model, ComparisonRequest(precisions=tuple(precisions), request=asked))
    assert caught.value.info.code is code
    assert stage.session.comparison is None
    assert not stage.session.is_busy
    assert (stage.said, stage.states, engines()) == ([], [], [])


def test_a_comparison_while_another_runs_is_refused(stage: Stage) -> None:
    stage.start("slow", ["fp32"])
    stage.wait_for(lambda: stage.texts("fp32") != "")
    before = stage.comparison
    with pytest.raises(PlaygroundError):
        stage.start("hello", ["nf4"])
    assert stage.comparison is before
    assert stage.run("fp32").state is RunState.GENERATING
    stage.stop()
    assert stage.said.count(("started",)) == 1


# ---- closing ------------------------------------------------------------------------------------------------------


def close(session: Session) -> float:
    started = time.monotonic()
    session.close()
    return time.monotonic() - started


def test_closing_an_idle_session(stage: Stage) -> None:
    assert close(stage.session) < STOP_LIMIT_S
    assert engines() == []


def test_closing_while_starting(stage: Stage) -> None:
    stage.start("hello")
    assert close(stage.session) < STOP_LIMIT_S
    assert engines() == []
    assert not stage.session.is_busy


def test_closing_while_the_machine_is_probed(stage: Stage) -> None:
    stage.session.probe()
    assert close(stage.session) < STOP_LIMIT_S
    assert engines() == []


@pytest.mark.parametrize("behaviour", ["hang-loading", "slow", "ignore-cancel", "hang-generating"])
def test_closing_while_it_works(stage: Stage, behaviour: str) -> None:
    stage.start(behaviour, ["fp32", "nf4"])
    busy = "progress" if behaviour == "hang-loading" else "text"
    stage.wait_for(lambda: any(said[:2] == (busy, "fp32") for said in stage.said))
    assert close(stage.session) < STOP_LIMIT_S
    assert engines() == []


def test_closing_while_it_stops(stage: Stage) -> None:
    stage.start("ignore-cancel", ["fp32", "nf4"])
    stage.wait_for(lambda: stage.texts("fp32") != "")
    stage.session.stop()
    assert close(stage.session) < STOP_LIMIT_S
    assert engines() == []


def test_closing_after_a_comparison_and_twice(stage: Stage) -> None:
    stage.compare("hello", ["nf4"])
    assert close(stage.session) < STOP_LIMIT_S
    assert close(stage.session) < STOP_LIMIT_S
    assert stage.outcomes() == {"nf4": RunState.DONE}


def test_progress_is_passed_on_as_it_came(stage: Stage) -> None:
    events: list[Progressed] = []
    stage.session.progressed.connect(lambda name, event: events.append(event))
    stage.compare("hello", ["fp32"])
    (recipe,) = recipes(["fp32"])
    total = fake.weight_bytes(recipe)
    assert [(event.done, event.total) for event in events] == [
        (total * quarter // 4, total) for quarter in (0, 1, 2, 4)
    ]


def test_without_a_fork_server_an_engine_waits_ahead_of_the_next_comparison(qtbot: QtBot) -> None:
    launcher = Launcher(FAKE, fork=False)
    session = Session(launcher)
    with qtbot.waitSignal(session.machine_known, timeout=10_000):
        session.probe()
    try:
        qtbot.waitUntil(lambda: launcher.spare_pid is not None, timeout=5000)
        with qtbot.waitSignal(session.comparison_finished, timeout=20_000):
            session.compare(MODEL, wanted(["fp32", "bf16"], "Once fast=2"))
        assert launcher.spare_pid is not None
    finally:
        session.close()
    assert launcher.spare_pid is None
