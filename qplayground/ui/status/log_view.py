"""The Log tab: technical details of failures, and a button that opens the machine check."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from qplayground.runtime.clients.doctor import Doctor
from qplayground.runtime.comparison.session import Session
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import button, in_column, in_row

_BLOCKS = 5000

if TYPE_CHECKING:
    from qplayground.ui.dialogs.doctor_dialog import DoctorDialog


class LogView(QWidget):
    """`text` is the log. The check is disabled during a run, because it would disturb the timings."""

    def __init__(self, session: Session, doctor: Doctor) -> None:
        super().__init__()
        self._doctor = doctor
        self.dialog: DoctorDialog | None = None
        self.text = QPlainTextEdit(
            readOnly=True,
            maximumBlockCount=_BLOCKS,
            placeholderText="What fails is written here with its technical detail.",
        )
        self.text.setAccessibleName("Log")
        tip = "Versions, processor, GPU, folders, and whether int8 and 4-bit work here: what a bug report needs."
        self.check = button("Check this machine…", self.open_check, tip)
        row = in_row(self.check, None, margins=(theme.GRID, theme.HALF_GRID, theme.GRID, theme.HALF_GRID))
        in_column(row, self.text, within=self, grows=self.text)
        session.busy_changed.connect(self._on_busy_changed)

    @Slot()
    def open_check(self) -> None:
        """Show the dialog and start a new check."""
        if self.dialog is None:
            from qplayground.ui.dialogs.doctor_dialog import DoctorDialog

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
