"""The worker's signals: everything that the child sends, in order, then `exited` once."""

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from pytestqt.qtbot import QtBot

from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.messages.commands import Cancel, Command
from qplayground.core.messages.events import Event, JobDone, Progressed
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.processes.process import ChildProcess
from qplayground.runtime.processes.worker import ChildWorker
from tests.process import children
from tests.process.children import asked


class Heard:
    """A worker and its signals, as (signal, name, value)."""

    def __init__(self, make_child: Callable[[], ChildProcess], first_command: Command | None = None) -> None:
        self.worker = ChildWorker("nf4", make_child, first_command=first_command)
        self.signals: list[tuple[str, str, object]] = []
        self.worker.event_received.connect(lambda name, event: self.signals.append(("event", name, event)))
        self.worker.exited.connect(lambda name, error: self.signals.append(("exited", name, error)))

    @property
    def events(self) -> list[object]:
        return [what for kind, _, what in self.signals if kind == "event"]

    @property
    def error(self) -> ErrorInfo | None:
        """The error of the last signal, which must be the only `exited`."""
        assert [kind for kind, _, _ in self.signals].index("exited") == len(self.signals) - 1
        error = self.signals[-1][2]
        assert error is None or isinstance(error, ErrorInfo)
        return error

    def run(self, qtbot: QtBot) -> None:
        with qtbot.waitSignals([self.worker.exited, self.worker.finished], timeout=10_000):
            self.worker.start()
        assert self.worker.wait(1000)


@pytest.fixture(params=["fork", "spawn"])
def make_child(request: pytest.FixtureRequest) -> Callable[[], ChildProcess]:
    launcher = Launcher(children.TARGET, fork=request.param == "fork")
    return lambda: launcher.engine_job(children.TARGET)


def test_events_in_order_then_the_exit(qtbot: QtBot, make_child: Callable[[], ChildProcess]) -> None:
    heard = Heard(make_child, asked("complete"))
    heard.run(qtbot)
    assert heard.events == [
        *(Progressed(1, "Working", step, 3, "steps") for step in range(3)),
        JobDone(1, children.ENTRY),
    ]
    assert {name for _, name, _ in heard.signals} == {"nf4"}
    assert heard.error is not None  # it was not asked to end
    assert "exit code 0" in heard.error.message


def test_a_crash_is_a_reason(qtbot: QtBot, make_child: Callable[[], ChildProcess]) -> None:
    heard = Heard(make_child, asked("crash"))
    heard.run(qtbot)
    assert heard.error is not None
    assert heard.error.code is ErrorCode.ENGINE_DIED


def test_nonsense_is_a_reason(qtbot: QtBot, make_child: Callable[[], ChildProcess]) -> None:
    heard = Heard(make_child, asked("talk-nonsense"))
    heard.run(qtbot)
    assert len(heard.events) == 1
    assert heard.error is not None
    assert heard.error.code is ErrorCode.INTERNAL


def test_an_end_on_purpose_has_no_reason(qtbot: QtBot, make_child: Callable[[], ChildProcess]) -> None:
    heard = Heard(make_child, asked("freeze"))
    with qtbot.waitSignal(heard.worker.event_received, timeout=10_000):
        heard.worker.start()
    assert heard.worker.pid is not None
    with qtbot.waitSignal(heard.worker.exited, timeout=1000):
        heard.worker.end()
    assert heard.worker.wait(1000)
    assert heard.error is None


def test_ended_before_it_began(qtbot: QtBot, make_child: Callable[[], ChildProcess]) -> None:
    heard = Heard(make_child, asked("hang"))
    heard.worker.end()
    heard.run(qtbot)
    assert (heard.events, heard.error) == ([], None)


def test_ended_right_after_it_began(qtbot: QtBot, make_child: Callable[[], ChildProcess]) -> None:
    heard = Heard(make_child, asked("hang"))
    with qtbot.waitSignal(heard.worker.exited, timeout=10_000):
        heard.worker.start()
        heard.worker.end()
    assert heard.worker.wait(1000)
    assert heard.error is None


def test_ended_as_the_child_is_made_while_the_fork_server_imports(qtbot: QtBot) -> None:
    never: Future[None] = Future()

    def make_child() -> ChildProcess:
        heard.worker.end()
        return ChildProcess(multiprocessing.get_context("spawn"), children.TARGET, never)

    heard = Heard(make_child)
    try:
        with qtbot.waitSignal(heard.worker.exited, timeout=2000):
            heard.worker.start()
    finally:
        never.cancel()  # anyone waiting is released
        assert heard.worker.wait(2000)
    assert (heard.events, heard.error) == ([], None)


def test_commands_reach_the_child_only_while_there_is_one(qtbot: QtBot, make_child: Callable[[], ChildProcess]) -> None:
    heard = Heard(make_child)
    assert not heard.worker.submit(Cancel(1))
    heard.worker.event_received.connect(lambda name, event: heard.worker.end() if len(heard.events) == 3 else None)
    with qtbot.waitSignal(heard.worker.exited, timeout=10_000):
        heard.worker.start()
        qtbot.waitUntil(lambda: heard.worker.submit(asked("only-progress", "3")), timeout=10_000)
    assert heard.worker.wait(1000)
    assert [event.done for event in heard.events if isinstance(event, Progressed)] == [0, 1, 2]
    assert not heard.worker.submit(Cancel(1))


def test_events_arrive_on_the_thread_of_the_listener(qtbot: QtBot, make_child: Callable[[], ChildProcess]) -> None:
    threads = set()
    heard = Heard(make_child, asked("complete"))

    def note(name: str, event: Event) -> None:
        threads.add(threading.get_ident())

    heard.worker.event_received.connect(note)
    heard.run(qtbot)
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("failure", [OSError(11, "Resource temporarily unavailable"), EOFError("unexpected EOF")])
def test_a_system_that_starts_nothing_is_a_reason(qtbot: QtBot, failure: Exception) -> None:
    def refuse() -> ChildProcess:
        raise failure

    heard = Heard(refuse)
    heard.run(qtbot)
    assert heard.events == []
    assert heard.error is not None
    assert heard.error.code is ErrorCode.ENGINE_DIED
    assert type(failure).__name__ in heard.error.detail


def test_whatever_goes_wrong_it_says_that_it_is_over(qtbot: QtBot) -> None:
    def make_child() -> ChildProcess:
        raise ValueError("scripted")

    worker = ChildWorker("strange", make_child)
    with qtbot.waitSignal(worker.exited, timeout=5000) as exited:
        worker.start()
    assert worker.wait(5000)
    assert exited.args is not None
    assert exited.args[0] == "strange"
    assert "ValueError: scripted" in exited.args[1].detail
