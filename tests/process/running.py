"""The engines of whatever asks them, found as Qt has them: a client below its owner, a worker below its client."""

from PySide6.QtCore import QObject, QTimer
from pytestqt.qtbot import QtBot

from qplayground.runtime.clients.engine_client import EngineClient
from qplayground.runtime.processes.worker import ChildWorker


def client_of(owner: QObject) -> EngineClient:
    """The client through which a planner, an inspector, a survey, a study or a doctor asks its engine."""
    found = owner.findChild(EngineClient)
    assert isinstance(found, EngineClient)
    return found


def workers_of(owner: QObject) -> list[ChildWorker]:
    """Those that have an engine or are starting one; one that is being ended counts until it is gone."""
    return [worker for worker in client_of(owner).findChildren(ChildWorker) if worker.isRunning()]


def pid_of(owner: QObject) -> int:
    """The process of its only engine."""
    (worker,) = workers_of(owner)
    assert worker.pid is not None
    return worker.pid


def turn(qtbot: QtBot) -> None:
    """Let the event loop do what was put off until its next turn."""
    with qtbot.waitCallback() as turned:
        QTimer.singleShot(0, turned)
