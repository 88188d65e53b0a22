"""A debug switch: says where the window's thread is when its event loop is held up."""

import faulthandler
import signal
import sys
import time
from typing import TextIO

from PySide6.QtCore import QObject, Qt, QTimer, Slot

LIMIT_S = 0.1
"""A person feels a standstill that is longer."""
_TICK_MS = 20


class Watchdog(QObject):
    """Writes the window's stack to `file` when the event loop does not turn for LIMIT_S, and then for how long.

    An alarm stops the window's own thread, which then writes: reading the frames of a thread that goes on can crash the
    program, and faulthandler's timer, which is all there is on Windows, does that.
    """

    def __init__(self, file: TextIO, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._file = file
        self._last, self._worked = time.monotonic(), time.thread_time()
        if sys.platform != "win32":
            signal.signal(signal.SIGALRM, signal.SIG_IGN)  # an alarm that comes after the end ends nothing
            faulthandler.register(signal.SIGALRM, file, all_threads=False)
        self._timer = QTimer(self, interval=_TICK_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._on_tick)
        self._timer.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._timer.stop()
        if sys.platform == "win32":
            faulthandler.cancel_dump_traceback_later()
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.unregister(signal.SIGALRM)

    @Slot()
    def _on_tick(self) -> None:
        now, worked = time.monotonic(), time.thread_time()
        held, own = now - self._last, worked - self._worked
        if held > LIMIT_S:  # with little work of its own it waited: for a processor, a lock or a file
            took = f"{1000 * held:.0f} ms, of which it worked {1000 * own:.0f} ms"
            print(f"The window was held up for {took}.", file=self._file, flush=True)
        self._last, self._worked = now, worked
        if sys.platform == "win32":
            faulthandler.dump_traceback_later(LIMIT_S, file=self._file)
        else:
            signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
