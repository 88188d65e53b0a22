"""Uses the window as a person does: typing, ticking, comparing."""

from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import RunState
from qplayground.ui.charts.comparison.layer_errors import LayerErrors
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


def offered_at(layers: LayerErrors, spot: QPointF) -> QAction:
    """The action offered for a click on a layer's bar. Closes the menu again."""
    layers.plot.scene().sigMouseClicked.emit(Click(layers.plot.vb.mapViewToScene(spot)))
    menu = layers.findChild(QMenu, options=Qt.FindChildOption.FindDirectChildrenOnly)
    assert menu is not None and menu.isVisible()
    (action,) = menu.actions()
    menu.close()
    return action


class Click:
    """A click as pyqtgraph passes it on."""

    def __init__(self, scene: QPointF) -> None:
        self._scene = scene

    def button(self) -> Qt.MouseButton:
        return Qt.MouseButton.LeftButton

    def scenePos(self) -> QPointF:
        return self._scene

    def screenPos(self) -> QPointF:
        return QPointF(10, 10)
