"""Asking for the memory of precisions: only the last question counts, and estimates wait while something is timed."""

from collections.abc import Iterator

import psutil
import pytest
from msgspec.structs import replace
from pytestqt.qtbot import QtBot

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorInfo
from qplayground.core.generation import GenerationRequest
from qplayground.core.memory.estimate import Verdict
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS
from qplayground.runtime.clients.engine_client import SILENCE_MS
from qplayground.runtime.clients.planner import Planner
from qplayground.runtime.processes.launcher import Launcher
from tests.fakes.engine import weight_bytes
from tests.process.running import client_of, pid_of, turn, workers_of
from tests.process.stages import FAKE


@pytest.fixture
def planner(qtbot: QtBot) -> Iterator[Planner]:
    planner = Planner(Launcher(FAKE))
    yield planner
    planner.close()


def answered(planner: Planner) -> bool:
    return planner.answer is not None and planner.answer.final


def test_every_precision_gets_its_estimate_and_verdict(planner: Planner, qtbot: QtBot) -> None:
    planner.ask("/models/one", READY_PRECISIONS)
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)
    for precision in READY_PRECISIONS:
        estimate = planner.estimate(precision.name)
        assert estimate is not None and estimate.weight_bytes == weight_bytes(precision)
        assert planner.fit(precision.name).verdict in (Verdict.FITS, Verdict.TIGHT)
    assert planner.estimate("unheard-of") is None
    assert planner.fit("unheard-of").verdict is Verdict.UNKNOWN


def test_estimates_are_given_only_for_what_was_asked(planner: Planner, qtbot: QtBot) -> None:
    planner.ask("/models/one", READY_PRECISIONS[:2])
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)
    changed = replace(READY_PRECISIONS[1], dtype=Dtype.FLOAT32)
    assert set(planner.estimates_of("/models/one", READY_PRECISIONS, Placement())) == {"fp32", "bf16"}
    assert set(planner.estimates_of("/models/one", [READY_PRECISIONS[0], changed], Placement())) == {"fp32"}
    assert planner.estimates_of("/models/other", READY_PRECISIONS, Placement()) == {}
    for request, known in ((GenerationRequest(), True), (GenerationRequest(prompt="Another"), False)):
        found = planner.estimates_of("/models/one", READY_PRECISIONS, Placement(), request)["fp32"]
        assert (found.resident_bytes is not None) is known and found.weight_bytes > 0
    assert planner.estimates_of("/models/one", READY_PRECISIONS, Placement(device="cpu")) == {}


def test_what_will_be_given_back_counts(planner: Planner, qtbot: QtBot) -> None:
    planner.ask("/models/huge", READY_PRECISIONS)
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)
    assert planner.fit("fp32").verdict is Verdict.WONT_FIT
    assert planner.fit("fp32", credit={"cpu": 10**18}).verdict is Verdict.FITS


def test_the_last_question_counts(planner: Planner, qtbot: QtBot) -> None:
    planner.ask("/models/huge", READY_PRECISIONS)
    planner.ask("/models/one", READY_PRECISIONS[:2])
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)
    assert planner.answer is not None and len(planner.answer.estimates) == 2
    planner.ask("/models/one", READY_PRECISIONS[:3])
    assert planner.answer is not None  # for the same model, and still true for these two
    qtbot.waitUntil(lambda: planner.answer is not None and len(planner.answer.estimates) == 3, timeout=10_000)
    planner.ask(None, READY_PRECISIONS)
    assert planner.answer is None


def test_nothing_is_reckoned_while_something_is_timed(planner: Planner, qtbot: QtBot) -> None:
    planner.set_paused(True)
    planner.ask("/models/one", READY_PRECISIONS)
    turn(qtbot)
    assert not workers_of(planner)
    planner.set_paused(False)
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)


def test_a_model_that_cannot_be_read_says_so_and_the_next_one_is_answered(planner: Planner, qtbot: QtBot) -> None:
    said: list[ErrorInfo] = []
    planner.failed.connect(said.append)
    planner.ask("/models/broken", READY_PRECISIONS)
    qtbot.waitUntil(lambda: len(said) == 1, timeout=10_000)
    assert planner.answer is None
    planner.ask("/models/one", READY_PRECISIONS)
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)


def test_an_engine_that_died_is_replaced(planner: Planner, qtbot: QtBot) -> None:
    planner.ask("/models/one", READY_PRECISIONS)
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)
    with qtbot.waitSignal(client_of(planner).lost, timeout=10_000):
        psutil.Process(pid_of(planner)).kill()
    planner.ask("/models/two", READY_PRECISIONS)
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)


def test_an_engine_that_dies_over_a_question_says_so(planner: Planner, qtbot: QtBot) -> None:
    said: list[ErrorInfo] = []
    planner.failed.connect(said.append)
    planner.ask("/models/one", READY_PRECISIONS)
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)
    psutil.Process(pid_of(planner)).suspend()
    planner.ask("/models/one", READY_PRECISIONS, context_tokens=9)
    assert planner.fit("fp32").verdict is not Verdict.UNKNOWN  # another length, but the same weights
    edited = replace(READY_PRECISIONS[0], dtype=Dtype.BFLOAT16)
    planner.ask("/models/one", (edited, *READY_PRECISIONS[1:]))
    assert planner.fit("fp32").verdict is Verdict.UNKNOWN
    assert planner.fit("bf16").verdict is not Verdict.UNKNOWN
    qtbot.waitUntil(lambda: client_of(planner).is_busy, timeout=5000)
    psutil.Process(pid_of(planner)).kill()
    qtbot.waitUntil(lambda: len(said) == 1, timeout=10_000)
    assert planner.answer is None


def test_an_engine_that_owes_an_answer_and_says_nothing_is_ended(planner: Planner, qtbot: QtBot) -> None:
    said: list[ErrorInfo] = []
    planner.failed.connect(said.append)
    planner.ask("/models/one", READY_PRECISIONS)
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)
    client = client_of(planner)
    psutil.Process(pid_of(planner)).suspend()
    client.silence.setInterval(100)
    with qtbot.assertNotEmitted(client.gone, wait=300):  # no question is pending
        pass
    planner.ask("/models/two", READY_PRECISIONS)
    qtbot.waitUntil(lambda: bool(said), timeout=10_000)
    assert "did not answer for 0.1 seconds" in said[0].message
    client.silence.setInterval(SILENCE_MS)
    planner.ask("/models/two", READY_PRECISIONS)
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)


def test_closing_ends_the_engine(planner: Planner, qtbot: QtBot) -> None:
    planner.ask("/models/one", READY_PRECISIONS)
    qtbot.waitUntil(lambda: answered(planner), timeout=10_000)
    pid = pid_of(planner)
    planner.close()
    assert not psutil.pid_exists(pid)
    planner.ask("/models/two", READY_PRECISIONS)
    planner.set_paused(False)
    turn(qtbot)
    assert not workers_of(planner)
