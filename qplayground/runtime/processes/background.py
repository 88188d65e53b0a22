"""Work beside the event loop: a folder can be on a slow disk."""

import traceback
from collections.abc import Callable

from PySide6.QtCore import QObject, QThread, Signal


class Background(QThread):
    """Does one thing. Signal: `done(object)` with what it gave, or the exception that it raised."""

    done = Signal(object)

    def __init__(self, work: Callable[[], object], parent: QObject) -> None:
        super().__init__(parent)
        self._work = work

    def run(self) -> None:
        try:
            found = self._work()
        except Exception as error:  # whatever it is, somebody waits to hear that it is over
            traceback.print_exc()
            found = error
        self.done.emit(found)
