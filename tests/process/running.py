"""Finds the engines of an object through Qt's object tree: the client is its child, the worker the client's child."""

from PySide6.QtCore import QObject, QTimer
from pytestqt.qtbot import QtBot

from qplayground.runtime.clients.engine_client import EngineClient
from qplayground.runtime.processes.worker import ChildWorker


def client_of(owner: QObject) -> EngineClient:
    """The client of a planner, an inspector, a survey, a study or a doctor."""
    found = owner.findChild(EngineClient)
    assert isinstance(found, EngineClient)
    return found


def workers_of(owner: QObject) -> list[ChildWorker]:
    """The workers that have an engine or are starting one. A worker counts until its engine has ended."""
    return [worker for worker in client_of(owner).findChildren(ChildWorker) if worker.isRunning()]


def pid_of(owner: QObject) -> int:
    """The process id of its only engine."""
    (worker,) = workers_of(owner)
    assert worker.pid is not None
    return worker.pid


def turn(qtbot: QtBot) -> None:
    """Let the event loop handle what is due in its next turn."""
    with qtbot.waitCallback() as turned:
        QTimer.singleShot(0, turned)
