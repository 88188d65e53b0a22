"""Looking at this machine without a window."""

import sys

from PySide6.QtCore import QCoreApplication, QObject, Slot

from qplayground.core.diagnosis.diagnosis import Diagnosis
from qplayground.core.errors import ErrorInfo
from qplayground.runtime.clients.doctor import Doctor


class ConsoleDoctor(QObject):
    """Runs the doctor in Qt's loop. What it found is then in `diagnosis`; without one `error` says why."""

    def __init__(self, doctor: Doctor) -> None:
        super().__init__()
        self._doctor = doctor
        self.diagnosis: Diagnosis | None = None
        self.error = ""
        doctor.progressed.connect(self._on_progressed)
        doctor.succeeded.connect(self._on_succeeded)
        doctor.failed.connect(self._on_failed)
        doctor.cancelled.connect(self._on_cancelled)

    def run(self) -> None:
        """Return when the doctor is done."""
        self._doctor.start()
        if self._doctor.is_running:
            QCoreApplication.exec()

    def interrupt(self) -> None:
        """End it."""
        self._doctor.cancel()

    @Slot(str, int, int)
    def _on_progressed(self, label: str, _done: int, _total: int) -> None:
        print(f"{label} …", file=sys.stderr, flush=True)

    @Slot(object)
    def _on_succeeded(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis
        QCoreApplication.exit()

    @Slot(object)
    def _on_failed(self, error: ErrorInfo) -> None:
        self.error = f"{error} {error.detail}".rstrip()
        QCoreApplication.exit()

    @Slot()
    def _on_cancelled(self) -> None:
        self.error = "Cancelled."
        QCoreApplication.exit()
