"""Saves the Inside window's tabs for the picked model, in every size and scheme."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.pictures.__main__ import SIZES

if TYPE_CHECKING:
    from qplayground.ui.window import MainWindow

_SETTLE_MS = 2500  # time for a matrix, the curve of all methods, and the X server's answer to a new size


def take_inside(window: "MainWindow", folder: Path, then: Callable[[], object]) -> None:
    """Save its pictures, close it, then call `then`."""
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication

    from qplayground.ui.widgets import theme

    app = QApplication.instance()
    assert isinstance(app, QApplication)
    window.models.inside.click()
    inside = window.inside.window
    assert inside is not None
    shots = [(tab, size, dark) for tab in range(inside.tabs.count()) for size in SIZES for dark in (False, True)]

    def next_shot() -> None:
        if not shots:
            inside.close()
            then()
            return
        tab, size, dark = shots[0]
        theme.paint(app, dark)
        inside.tabs.setCurrentIndex(tab)
        inside.resize(*size)
        QTimer.singleShot(_SETTLE_MS, inside, save)

    def save() -> None:
        tab, (width, height), dark = shots.pop(0)
        label = inside.tabs.tabText(tab).replace("&", "").lower()
        inside.grab().save(str(folder / f"{width}x{height}-{'dark' if dark else 'light'}-inside-{label}.png"))
        next_shot()

    def start(_quantized: object) -> None:
        inside.inspector.quantized.disconnect(start)
        inside.matrix.params.worst.click()
        next_shot()

    inside.inspector.quantized.connect(start)
