"""The default window size."""

from unittest.mock import patch

import pytest
from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QScreen
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from qplayground.ui.widgets.window_size import USUAL, size_for_screen


@pytest.mark.parametrize(
    ("free", "fills"),
    [((1920, 1080), False), ((1366, 768), False), ((1280, 720), True), ((1280, 1024), True), ((1920, 740), True)],
)
def test_no_edge_lies_beyond_the_screen(qtbot: QtBot, free: tuple[int, int], fills: bool) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    with patch.object(QScreen, "availableGeometry", lambda _: QRect(0, 0, *free)):
        size_for_screen(window)
    assert bool(window.windowState() & Qt.WindowState.WindowMaximized) is fills
    assert fills or window.size() == USUAL
