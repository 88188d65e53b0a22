"""Ctrl-C, on Qt's thread."""

import signal
import socket
from collections.abc import Callable

from PySide6.QtCore import QObject, QSocketNotifier, Slot


class Interrupts(QObject):
    """Turns Ctrl-C into a call on Qt's thread. Python alone would notice it only when Qt next runs Python code."""

    def __init__(self, on_interrupt: Callable[[], object]) -> None:
        super().__init__()
        self._call = on_interrupt
        self._read, self._write = socket.socketpair()
        for end in (self._read, self._write):
            end.setblocking(False)
        self._notifier = QSocketNotifier(self._read.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._on_interrupt)
        self._previous = signal.signal(signal.SIGINT, lambda number, frame: None)
        self._previous_fd = signal.set_wakeup_fd(self._write.fileno())

    def close(self) -> None:
        """Restore the previous handler of Ctrl-C."""
        signal.set_wakeup_fd(self._previous_fd)
        signal.signal(signal.SIGINT, self._previous)
        self._notifier.setEnabled(False)
        self._read.close()
        self._write.close()

    @Slot()
    def _on_interrupt(self) -> None:
        self._read.recv(64)
        self._call()
