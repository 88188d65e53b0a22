"""Work off the window's thread, because a folder can be on a slow disk."""

import traceback
from collections.abc import Callable

from PySide6.QtCore import QObject, QThread, Signal


class Background(QThread):
    """Runs one function on a thread. Signal: `done(object)` with its result, or the exception that it raised."""

    done = Signal(object)

    def __init__(self, work: Callable[[], object], parent: QObject) -> None:
        super().__init__(parent)
        self._work = work

    def run(self) -> None:
        try:
            found = self._work()
        except Exception as error:  # `done` must follow in any case
            traceback.print_exc()
            found = error
        self.done.emit(found)
