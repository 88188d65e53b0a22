"""A job's signals: `started`, `progressed`…, exactly one of `succeeded`, `failed`, `cancelled`, then `finished`."""

import pytest
from pytestqt.qtbot import QtBot

from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.messages.events import Progressed
from qplayground.runtime.models.jobs import Job
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.processes.process import ChildProcess
from tests.process import children
from tests.process.children import asked


class Watched:
    """A job of a child, with its signals in order."""

    def __init__(self, behaviour: str, argument: str = "") -> None:
        self.job = Job("Working", self._make_child, asked(behaviour, argument))
        self.said: list[tuple[str, object]] = []
        for name in ("started", "cancelled", "finished"):
            getattr(self.job, name).connect(lambda name=name: self.said.append((name, None)))
        for name in ("progressed", "succeeded", "failed"):
            getattr(self.job, name).connect(lambda what, name=name: self.said.append((name, what)))

    def _make_child(self) -> ChildProcess:
        return Launcher(fork=False).job(children.TARGET)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.said]

    @property
    def outcome(self) -> tuple[str, object]:
        """The final signal, after a check of the signals' order."""
        steps = self.names.count("progressed")
        assert self.names[: steps + 1] == ["started", *["progressed"] * steps]
        assert self.names[-1] == "finished"
        (outcome,) = self.said[steps + 1 : -1]
        assert outcome[0] in ("succeeded", "failed", "cancelled")
        return outcome

    @property
    def error(self) -> ErrorInfo:
        name, error = self.outcome
        assert name == "failed"
        assert isinstance(error, ErrorInfo)
        return error

    def run(self, qtbot: QtBot) -> None:
        with qtbot.waitSignal(self.job.finished, timeout=10_000):
            self.job.start()


def test_a_job_that_succeeds(qtbot: QtBot) -> None:
    watched = Watched("complete")
    watched.run(qtbot)
    assert watched.names == ["started", *["progressed"] * 3, "succeeded", "finished"]
    assert watched.outcome == ("succeeded", children.ENTRY)
    assert [what.done for _, what in watched.said if isinstance(what, Progressed)] == [0, 1, 2]


def test_a_job_that_fails_gives_the_childs_reason(qtbot: QtBot) -> None:
    watched = Watched("fail")
    watched.run(qtbot)
    assert watched.error == children.FAILURE


@pytest.mark.parametrize(
    ("behaviour", "argument", "code", "hint"),
    [
        ("exit", "3", ErrorCode.ENGINE_DIED, "Try again; if it happens again, please report it."),
        ("crash", "", ErrorCode.ENGINE_DIED, "Try again; if it happens again, please report it."),
        ("kill", "", ErrorCode.OUT_OF_MEMORY, "Close other programs and try again."),
        ("only-progress", "2", ErrorCode.ENGINE_DIED, "Try again; if it happens again, please report it."),
        ("talk-nonsense", "", ErrorCode.INTERNAL, "Run it again; if it happens again, please report it."),
    ],
)
def test_a_job_whose_child_breaks_has_failed(
    qtbot: QtBot, behaviour: str, argument: str, code: ErrorCode, hint: str
) -> None:
    """The advice suits a job, which has no precision to change."""
    watched = Watched(behaviour, argument)
    watched.run(qtbot)
    assert watched.error.code is code
    assert watched.error.message
    assert watched.error.hint == hint


@pytest.mark.parametrize("behaviour", ["hang", "freeze"])
def test_a_job_that_is_cancelled(qtbot: QtBot, behaviour: str) -> None:
    watched = Watched(behaviour)
    with qtbot.waitSignal(watched.job.progressed, timeout=10_000):
        watched.job.start()
    with qtbot.waitSignal(watched.job.finished, timeout=1000):
        watched.job.cancel()
    assert watched.outcome == ("cancelled", None)


def test_a_job_that_is_cancelled_at_once(qtbot: QtBot) -> None:
    watched = Watched("hang")
    with qtbot.waitSignal(watched.job.finished, timeout=10_000):
        watched.job.start()
        watched.job.cancel()
    assert watched.names == ["started", "cancelled", "finished"]


def test_cancelling_what_is_done_changes_nothing(qtbot: QtBot) -> None:
    watched = Watched("complete")
    watched.job.succeeded.connect(watched.job.cancel)
    watched.run(qtbot)
    watched.job.cancel()
    assert watched.outcome[0] == "succeeded"
    assert watched.names.count("finished") == 1


def test_closing_ends_the_child_before_it_returns(qtbot: QtBot) -> None:
    watched = Watched("freeze")
    with qtbot.waitSignal(watched.job.progressed, timeout=10_000):
        watched.job.start()
    watched.job.close(2000)
    with qtbot.waitSignal(watched.job.finished, timeout=1000):
        pass
    assert watched.outcome == ("cancelled", None)
