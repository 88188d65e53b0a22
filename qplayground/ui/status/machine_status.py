"""This machine's resources in the status bar."""

import os

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtWidgets import QLabel

from qplayground.core.errors import ErrorInfo
from qplayground.core.messages.events import Hello
from qplayground.core.units import bytes_text
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.machine.available import available_memory
from qplayground.ui.widgets import theme

_REFRESH_MS = 2000


class MachineStatus(QLabel):
    """Shows CPU threads, free RAM (of the container's limit, if there is one), GPUs, and whether the hub is offline."""

    def __init__(self, session: Session) -> None:
        super().__init__(textFormat=Qt.TextFormat.PlainText)
        self._session = session
        self.setAccessibleName("This machine")
        self._waiting = "starting the engines…"
        session.machine_known.connect(self._on_machine_known)
        session.machine_unknown.connect(self._on_machine_unknown)
        timer = QTimer(self, interval=_REFRESH_MS)
        timer.timeout.connect(self._show)
        timer.start()
        self._show()

    @Slot(object)
    def _on_machine_known(self, hello: Hello) -> None:
        versions = "\n".join(f"{name} {version}" for name, version in hello.machine.versions.items())
        self.setToolTip(theme.literal(f"{hello.machine.cpu} ({hello.machine.cpu_capability})\n{versions}"))
        self._show()

    @Slot(object)
    def _on_machine_unknown(self, error: ErrorInfo) -> None:
        self._waiting = "no engine could be started"
        self.setToolTip(theme.literal(f"{error} {error.detail}"))
        self._show()

    @Slot()
    def _show(self) -> None:
        machine = self._session.machine
        threads = f"CPU, {machine.cpu_threads} thread{'s' * (machine.cpu_threads != 1)}" if machine else self._waiting
        memory = available_memory()
        allowed = " allowed here" if memory.limited else ""
        parts = [threads, f"{bytes_text(memory.available_bytes)} of {bytes_text(memory.total_bytes)} RAM{allowed} free"]
        if machine:
            parts += machine.gpus
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            parts.append("offline")
        self.setText(" · ".join(parts))
