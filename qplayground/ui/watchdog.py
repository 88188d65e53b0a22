"""Debug switch: reports where the GUI thread is when its event loop stalls."""

import faulthandler
import signal
import sys
import time
from typing import TextIO

from PySide6.QtCore import QObject, Qt, QTimer, Slot

LIMIT_S = 0.1
"""Users notice stalls longer than this."""
_TICK_MS = 20


class Watchdog(QObject):
    """Writes the GUI thread's stack to `file` when the event loop stalls for LIMIT_S, and then how long it stalled.

    SIGALRM interrupts the GUI thread, which dumps its own stack. Reading the frames of a running thread can crash the
    program. Windows has only faulthandler's timer, which does that.
    """

    def __init__(self, file: TextIO, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._file = file
        self._last, self._worked = time.monotonic(), time.thread_time()
        if sys.platform != "win32":
            signal.signal(signal.SIGALRM, signal.SIG_IGN)  # an alarm after stop() must not kill the process
            faulthandler.register(signal.SIGALRM, file, all_threads=False)
        self._timer = QTimer(self, interval=_TICK_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._on_tick)
        self._timer.start()

    def stop(self) -> None:
        """Stop watching."""
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
        if held > LIMIT_S:  # little CPU time of its own means that it waited: for a CPU, a lock or a file
            took = f"{1000 * held:.0f} ms, of which it worked {1000 * own:.0f} ms"
            print(f"The window was held up for {took}.", file=self._file, flush=True)
        self._last, self._worked = now, worked
        if sys.platform == "win32":
            faulthandler.dump_traceback_later(LIMIT_S, file=self._file)
        else:
            signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
