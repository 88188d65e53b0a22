"""The machine check: its progress, its findings, and a button that copies them for a bug report."""

from functools import partial

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QGuiApplication, QPalette
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QPlainTextEdit, QProgressBar, QVBoxLayout, QWidget

from qplayground.core.diagnosis.diagnosis import Diagnosis
from qplayground.core.errors import ErrorInfo
from qplayground.report.diagnosis import diagnosis_text, headline
from qplayground.runtime.clients.doctor import Doctor
from qplayground.ui.widgets import theme

_SIZE = QSize(880, 620)


class DoctorDialog(QDialog):
    """Shows the doctor's progress and findings. Closing it cancels the check."""

    def __init__(self, doctor: Doctor, parent: QWidget) -> None:
        super().__init__(parent)
        self._doctor = doctor
        self._allowed = True
        self.setWindowTitle("Check of this machine")
        self.state = QLabel(wordWrap=True, textFormat=Qt.TextFormat.PlainText)
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress of the check")
        self.text = QPlainTextEdit(readOnly=True, lineWrapMode=QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setAccessibleName("Findings")
        self.text.setFont(theme.fixed_font())
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.copy = buttons.addButton("C&opy", QDialogButtonBox.ButtonRole.ActionRole)
        self.again = buttons.addButton("Check &again", QDialogButtonBox.ButtonRole.ActionRole)
        self.stop = buttons.addButton("&Stop", QDialogButtonBox.ButtonRole.ActionRole)
        self.copy.clicked.connect(self._copy)
        self.again.clicked.connect(doctor.start)
        self.stop.clicked.connect(doctor.cancel)
        buttons.rejected.connect(self.reject)
        self.finished.connect(doctor.cancel)
        layout = QVBoxLayout(self)
        for widget in (self.state, self.bar, self.text, buttons):
            layout.addWidget(widget)
        self.resize(_SIZE)
        doctor.started.connect(self._on_started)
        doctor.progressed.connect(self._on_progressed)
        doctor.succeeded.connect(self._on_succeeded)
        doctor.failed.connect(self._on_failed)
        doctor.cancelled.connect(partial(self._say, "The check was stopped."))
        doctor.finished.connect(self._refresh)
        self._refresh()

    def set_allowed(self, allowed: bool) -> None:
        """Set whether a check may start now."""
        self._allowed = allowed
        self._refresh()

    @Slot()
    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text.toPlainText())

    @Slot()
    def _on_started(self) -> None:
        self.text.clear()
        self._refresh()

    @Slot(str, int, int)
    def _on_progressed(self, label: str, done: int, total: int) -> None:
        self._say(f"Checking: {label}…")
        self.bar.setRange(0, total)
        self.bar.setValue(done)

    @Slot(object)
    def _on_succeeded(self, diagnosis: Diagnosis) -> None:
        self._say(headline(diagnosis), alarming=not diagnosis.works)
        self.text.setPlainText(diagnosis_text(diagnosis))

    @Slot(object)
    def _on_failed(self, error: ErrorInfo) -> None:
        self._say(str(error), alarming=True)
        self.text.setPlainText(error.detail)

    @Slot()
    def _refresh(self) -> None:
        running = self._doctor.is_running
        self.bar.setVisible(running)
        self.stop.setVisible(running)
        self.again.setVisible(not running)
        self.again.setEnabled(self._allowed)
        self.copy.setEnabled(not running and bool(self.text.toPlainText()))

    def _say(self, text: str, *, alarming: bool = False) -> None:
        self.state.setText(text)
        self.state.setForegroundRole(QPalette.ColorRole.BrightText if alarming else QPalette.ColorRole.WindowText)
