"""A slot of any session signal may call the session immediately, even to close it."""

from collections.abc import Callable, Iterator

import psutil
import pytest
from pytestqt.qtbot import QtBot

from qplayground.core.commentary.notes import notes
from qplayground.core.comparison.results import Comparison, Mode, RunState
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.placement import Placement
from qplayground.core.system.machine import Machine
from qplayground.runtime.processes.launcher import Launcher
from tests.process.stages import FAKE, MODEL, Stage, recipes, run, wanted


@pytest.fixture
def stage(qtbot: QtBot) -> Iterator[Stage]:
    stage = Stage(qtbot, Launcher(FAKE))
    yield stage
    stage.session.close()


def once(act: Callable[[], object]) -> Callable[..., None]:
    """A slot that acts only on its first call."""
    called: list[bool] = []

    def slot(*_told: object) -> None:
        if not called:
            called.append(True)
            act()

    return slot


@pytest.mark.parametrize(
    "signal",
    ["comparison_started", "busy_changed", "run_changed", "phase_started", "tokens_added", "run_cleared"],
)
def test_closing_in_a_slot_ends_everything(stage: Stage, qtbot: QtBot, signal: str) -> None:
    session, closed = stage.session, []

    def close() -> None:
        session.close()
        closed.append(True)

    getattr(session, signal).connect(once(close))
    session.compare(MODEL, wanted(["fp32", "nf4"], "once", mode=Mode.BENCHMARK, rounds=2))
    qtbot.waitUntil(lambda: bool(closed), timeout=10_000)
    qtbot.waitUntil(
        lambda: stage.engines() == [], timeout=5000
    )  # the fork server may just have answered its first request
    assert not session.is_busy


@pytest.mark.parametrize("act", ["stop", "close"])
@pytest.mark.parametrize("change", ["add", "run_again"])
@pytest.mark.parametrize("signal", ["busy_changed", "run_cleared", "comparison_changed"])
def test_a_change_can_be_given_up_while_it_is_announced(
    stage: Stage, qtbot: QtBot, act: str, change: str, signal: str
) -> None:
    session = stage.session
    run(stage, qtbot, "once", "fp32", "nf4")
    getattr(session, signal).connect(once(getattr(session, act)))
    session.add(recipes(["int8"])[0]) if change == "add" else session.run_again("nf4")
    is_heard = (signal, change) not in (("run_cleared", "add"), ("comparison_changed", "run_again"))
    qtbot.waitUntil(lambda: not session.is_busy, timeout=10_000)
    assert stage.engines() == []
    if act == "stop":
        name = "int8" if change == "add" else "nf4"
        assert stage.run(name).state is (RunState.CANCELLED if is_heard else RunState.DONE)


def test_a_stop_in_the_first_slot_leaves_the_order_of_signals(stage: Stage, qtbot: QtBot) -> None:
    session, heard = stage.session, []
    session.comparison_started.connect(lambda _: heard.append("started"))
    session.comparison_finished.connect(lambda _: heard.append("finished"))
    session.busy_changed.connect(once(session.stop))
    with qtbot.waitSignal(session.comparison_finished, timeout=5000):
        session.compare(MODEL, wanted(["fp32"], "once"))
    assert heard == ["started", "finished"]


def test_the_next_comparison_can_be_started_as_one_ends(stage: Stage, qtbot: QtBot) -> None:
    session = stage.session
    finished: list[str] = []

    def note(comparison: Comparison) -> None:
        finished.append(comparison.prompt)
        assert comparison.is_finished and comparison.baseline == "fp32"

    session.comparison_finished.connect(note)

    def start_next(busy: bool) -> None:
        if not busy and not finished:
            session.compare(MODEL, wanted(["fp32"], "second"))

    session.busy_changed.connect(start_next)
    session.compare(MODEL, wanted(["fp32"], "first"))
    qtbot.waitUntil(lambda: finished == ["first", "second"], timeout=15_000)


def test_letting_go_leaves_one_alone_that_waits_for_the_race(stage: Stage, qtbot: QtBot) -> None:
    session = stage.session
    session.compare(MODEL, wanted(["fp32", "nf4"], "once", mode=Mode.RACE))
    qtbot.waitUntil(lambda: stage.run("fp32").state is RunState.READY, timeout=10_000)
    assert not session.loaded
    with qtbot.waitSignal(session.comparison_finished, timeout=10_000):
        session.unload("fp32")
    assert set(stage.outcomes().values()) == {RunState.DONE}


def test_a_kept_engine_that_died_can_be_run_again_at_once(stage: Stage, qtbot: QtBot) -> None:
    session = stage.session
    session.set_keep_loaded(True)
    run(stage, qtbot, "once", "fp32", "nf4")
    session.log_added.connect(once(lambda: session.run_again("fp32")))
    with qtbot.waitSignal(session.comparison_finished, timeout=10_000):
        psutil.Process(stage.engines()[0]).kill()
    assert stage.run("fp32").state is RunState.DONE
    assert not stage.run("fp32").load.kept


def test_what_a_race_spoilt_is_forgotten_with_its_figures(stage: Stage, qtbot: QtBot) -> None:
    run(stage, qtbot, "once", "fp32", "nf4", mode=Mode.RACE)
    comparison = stage.session.comparison
    assert comparison is not None and "fp32, nf4: ran in a race" in notes(comparison)[0].sentence
    heard: list[str] = []
    stage.session.run_cleared.connect(lambda _: heard.extend(note.sentence for note in notes(comparison)))
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=10_000):
        stage.session.run_again("nf4")
    assert heard[0].startswith("fp32: ran in a race")


def test_a_gpu_that_is_not_there_is_refused_once_the_machine_is_known(stage: Stage, qtbot: QtBot) -> None:
    with qtbot.waitSignal(stage.session.machine_known, timeout=10_000):
        stage.session.probe()
    assert isinstance(stage.session.machine, Machine)
    with pytest.raises(PlaygroundError) as refused:
        stage.session.compare(MODEL, wanted(["fp32"], "once", placement=Placement(device="cuda:0")))
    assert refused.value.info.code is ErrorCode.BAD_DEVICE
    assert not stage.session.is_busy
