"""Using the window as a person does: typing, ticking, comparing."""

from PySide6.QtCore import QPointF, Qt
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import RunState
from qplayground.ui.comparison.results_view import ResultsView
from qplayground.ui.window import MainWindow

LEFT = Qt.MouseButton.LeftButton


def type_prompt(qtbot: QtBot, window: MainWindow, text: str) -> None:
    window.prompt.text.setFocus()
    window.prompt.text.selectAll()
    qtbot.keyClicks(window.prompt.text, text)


def tick(qtbot: QtBot, window: MainWindow, *names: str) -> None:
    for precision in window.precisions.precisions():
        row = window.precisions.row(precision.name)
        assert row is not None
        if row.tick.isChecked() != (precision.name in names):
            row.tick.click()


def compare(qtbot: QtBot, window: MainWindow, timeout: int = 20_000) -> None:
    with qtbot.waitSignal(window.session.comparison_finished, timeout=timeout):
        qtbot.mouseClick(window.models.compare, LEFT)


def states(window: MainWindow) -> list[RunState]:
    assert window.session.comparison is not None
    return [run.state for run in window.session.comparison.runs]


def choose_in_menu(view: ResultsView, name: str, text: str) -> None:
    menu: QMenu = view.make_menu(name)
    (action,) = (action for action in menu.actions() if action.text().replace("&", "") == text)
    assert action.isEnabled()
    action.trigger()


class Click:
    """As pyqtgraph passes one on."""

    def __init__(self, scene: QPointF) -> None:
        self._scene = scene

    def button(self) -> Qt.MouseButton:
        return Qt.MouseButton.LeftButton

    def scenePos(self) -> QPointF:
        return self._scene

    def screenPos(self) -> QPointF:
        return QPointF(10, 10)
