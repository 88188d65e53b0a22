"""What the debug switch writes when the window freezes."""

import time
from pathlib import Path

from PySide6.QtCore import QTimer
from pytestqt.qtbot import QtBot

from qplayground.ui.watchdog import Watchdog


def test_a_standstill_is_written_with_its_place_and_length(qtbot: QtBot, tmp_path: Path) -> None:
    path = tmp_path / "watchdog.txt"
    with path.open("w") as file:
        watchdog = Watchdog(file)

        def hold_up_the_window() -> None:
            deadline = time.monotonic() + 5
            # A busy machine may have caused an earlier report.
            while "in hold_up_the_window" not in path.read_text() and time.monotonic() < deadline:
                pass

        QTimer.singleShot(100, watchdog, hold_up_the_window)
        qtbot.waitUntil(lambda: "held up for" in path.read_text().partition("in hold_up_the_window")[2], timeout=10_000)
        watchdog.stop()
