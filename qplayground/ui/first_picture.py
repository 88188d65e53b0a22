"""Debug switch: reports when the window becomes usable. Start-up time is measured by this."""

import time
from typing import TextIO

from PySide6.QtCore import QEvent, QObject, QTimer, Slot
from PySide6.QtWidgets import QWidget


class FirstPicture(QObject):
    """Writes a line to `file` once `window` is painted and its event loop runs again.

    The line gives the process's CPU time so far, in seconds, summed over all threads.
    """

    def __init__(self, file: TextIO, window: QWidget) -> None:
        super().__init__(window)
        self._file = file
        self._window = window
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint:
            self._window.removeEventFilter(self)
            QTimer.singleShot(0, self, self._say)
        return False

    @Slot()
    def _say(self) -> None:
        worked = time.process_time()
        print(
            f"The window is painted and answers, after {worked:.2f} s of processor time.", file=self._file, flush=True
        )
