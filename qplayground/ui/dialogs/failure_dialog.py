"""Details of a failed run: the error, what to try, and the engine's last output."""

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QPlainTextEdit, QVBoxLayout, QWidget

from qplayground.core.errors import ErrorInfo
from qplayground.ui.widgets import theme

_SIZE = QSize(720, 420)


class FailureDialog(QDialog):
    """Shows one error in full. Signal: `run_again_requested()`, offered if the run can be repeated."""

    run_again_requested = Signal()

    def __init__(self, title: str, error: ErrorInfo, *, can_run_again: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(f"What happened to {title}")
        self._error = error
        selectable = Qt.TextInteractionFlag.TextSelectableByMouse
        sentence = QLabel(
            str(error), textFormat=Qt.TextFormat.PlainText, wordWrap=True, textInteractionFlags=selectable
        )
        self.output = QPlainTextEdit(error.detail, readOnly=True, placeholderText="There is no further detail.")
        self.output.setAccessibleName("Technical detail and the engine's last output")
        self.output.setFont(theme.fixed_font())
        self.output.moveCursor(self.output.textCursor().MoveOperation.End)  # the last lines show the failure
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.addButton("&Copy", QDialogButtonBox.ButtonRole.ActionRole).clicked.connect(self._copy)
        if can_run_again:
            again = buttons.addButton("&Run again", QDialogButtonBox.ButtonRole.ActionRole)
            again.clicked.connect(self._run_again)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        for widget in (sentence, self.output, buttons):
            layout.addWidget(widget)
        self.resize(_SIZE)

    @Slot()
    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(f"{self._error}\n\n{self._error.detail}".rstrip())

    @Slot()
    def _run_again(self) -> None:
        self.accept()
        self.run_again_requested.emit()
