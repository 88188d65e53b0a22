"""The Log tab: what fails with its technical detail, and the way to the check of this machine."""

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from qplayground.runtime.clients.doctor import Doctor
from qplayground.runtime.comparison.session import Session
from qplayground.ui.dialogs.doctor_dialog import DoctorDialog
from qplayground.ui.widgets import theme

_BLOCKS = 5000


class LogView(QWidget):
    """`text` is the log. Nothing is checked while something runs, since that would disturb what is timed."""

    def __init__(self, session: Session, doctor: Doctor, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._doctor = doctor
        self.dialog: DoctorDialog | None = None
        self.text = QPlainTextEdit(readOnly=True)
        self.text.setMaximumBlockCount(_BLOCKS)
        self.text.setAccessibleName("Log")
        self.text.setPlaceholderText("What fails is written here with its technical detail.")
        self.check = QPushButton("Check this machine…")
        self.check.setToolTip(
            "Versions, processor, GPU, folders, and whether int8 and 4-bit work here: what a bug report needs."
        )
        self.check.clicked.connect(self.open_check)
        row = QHBoxLayout()
        row.setContentsMargins(theme.GRID, theme.HALF_GRID, theme.GRID, theme.HALF_GRID)
        row.addWidget(self.check)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(row)
        layout.addWidget(self.text, 1)
        session.busy_changed.connect(self._on_busy_changed)

    @Slot()
    def open_check(self) -> None:
        """Show the dialog, and check anew."""
        if self.dialog is None:
            self.dialog = DoctorDialog(self._doctor, self.window())
        self.dialog.show()
        self.dialog.raise_()
        self._doctor.start()

    @Slot(bool)
    def _on_busy_changed(self, busy: bool) -> None:
        self.check.setDisabled(busy)
        if self.dialog is not None:
            self.dialog.set_allowed(not busy)
        if busy:
            self._doctor.cancel()
