"""What the debug switch reports about the start."""

import io
import re
import time

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from qplayground.ui.first_picture import FirstPicture


def test_the_window_says_once_that_it_can_be_used(qtbot: QtBot) -> None:
    window, file = QLabel("text"), io.StringIO()
    qtbot.addWidget(window)
    FirstPicture(file, window)
    before = time.process_time()
    assert not file.getvalue()
    window.show()
    qtbot.waitUntil(lambda: "\n" in file.getvalue())
    window.repaint()
    placeholder: list[bool] = []
    QTimer.singleShot(0, lambda: placeholder.append(True))
    qtbot.waitUntil(lambda: bool(placeholder))
    said = re.fullmatch(r"The window is painted and answers, after ([\d.]+) s of processor time\.\n", file.getvalue())
    assert said is not None
    assert before - 0.01 <= float(said[1]) <= time.process_time() + 0.01
