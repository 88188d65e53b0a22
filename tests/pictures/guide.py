"""Saves the pictures of the guide and the README after a comparison: light scheme, 1280 × 720 or a part of it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.pictures.__main__ import SIZES

if TYPE_CHECKING:
    from qplayground.ui.window import MainWindow

_SETTLE_MS = 2500  # time for charts, a matrix, a placement plan, and the X server's answer to a new size
_TOUR_STEP = 3  # the step about blocks


def take_guide(window: "MainWindow", folder: Path, then: Callable[[], object]) -> None:
    """Save each picture, then call `then`."""
    from PySide6.QtCore import QPoint, QTimer
    from PySide6.QtGui import QPixmap
    from PySide6.QtWidgets import QApplication

    from qplayground.ui.comparison.run_column import RunColumn
    from qplayground.ui.widgets import theme

    app = QApplication.instance()
    assert isinstance(app, QApplication)
    theme.paint(app, dark=False)
    window.resize(*SIZES[0])
    window.results.changes.setChecked(False)
    window.results.tint.setChecked(False)

    def whole() -> QPixmap:
        return window.screen().grabWindow(window.winId())

    def compare() -> None:
        window.tabs.setCurrentIndex(0)

    def decide() -> None:
        names = [window.tabs.tabText(place).replace("&", "") for place in range(window.tabs.count())]
        window.tabs.setCurrentIndex(names.index("Trade-off"))

    def show_menu() -> None:
        window.tabs.setCurrentIndex(0)
        column = window.findChildren(RunColumn)[-1]
        menu = window.results.make_menu("nf4")
        menu.popup(column.menu.mapToGlobal(QPoint(column.menu.width() - menu.sizeHint().width(), column.menu.height())))
        menu.setActiveAction(next(action for action in menu.actions() if "script" in action.text()))

    def with_menu() -> QPixmap:
        menu = QApplication.activePopupWidget()
        assert menu is not None
        shown = window.results.geometry().translated(window.results.mapToGlobal(QPoint()) - window.results.pos())
        picture = window.screen().grabWindow(0, shown.x(), shown.y(), shown.width(), shown.height())
        menu.close()
        return picture

    def placement() -> QPixmap:
        dialog = window.placing.dialog
        assert dialog is not None
        picture = dialog.grab()
        dialog.reject()
        return picture

    def open_inside() -> None:
        window.models.inside.click()
        inside = window.inside.window
        assert inside is not None
        inside.resize(*SIZES[0])
        inside.tour.list.setCurrentRow(_TOUR_STEP)
        inside.tabs.setCurrentWidget(inside.tour)

    def inside_now() -> QPixmap:
        inside = window.inside.window
        assert inside is not None
        return inside.grab()

    def show_matrix() -> None:
        inside = window.inside.window
        assert inside is not None
        inside.tabs.setCurrentWidget(inside.matrix)
        inside.matrix.params.worst.click()

    steps: list[tuple[str, Callable[[], object], Callable[[], QPixmap]]] = [
        ("compare", compare, whole),
        ("decide", decide, whole),
        ("script", show_menu, with_menu),
        ("memory", window.placing.edit, placement),
        ("explain", open_inside, inside_now),
        ("inside", show_matrix, inside_now),
    ]

    def next_step() -> None:
        if not steps:
            if window.inside.window is not None:
                window.inside.window.close()
            then()
            return
        steps[0][1]()
        QTimer.singleShot(_SETTLE_MS, window, save)

    def save() -> None:
        name, _, grab = steps.pop(0)
        grab().save(str(folder / f"{name}.png"))
        next_step()

    QTimer.singleShot(_SETTLE_MS, window, next_step)
