"""What a reader should know beside the figures, in one place below all columns."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from qplayground.core.notes import notes
from qplayground.core.recommendation import recommendation
from qplayground.core.results import Comparison
from qplayground.ui import theme


class NotesStrip(QWidget):
    """A line a note, what is true of several runs said once. Takes no room while there is nothing to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.advice = self._label(QPalette.ColorRole.WindowText, "Which precision to pick")
        self.caveats = self._label(QPalette.ColorRole.BrightText, "What spoilt speeds, or sets figures apart")
        self.remarks = self._label(
            QPalette.ColorRole.PlaceholderText, "What spoilt load times, and what explains figures"
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.GRID + theme.HALF_GRID, 0, theme.GRID, theme.HALF_GRID)
        column.setSpacing(0)
        column.addWidget(self.advice)
        column.addWidget(self.caveats)
        column.addWidget(self.remarks)
        self.hide()

    def _label(self, role: QPalette.ColorRole, name: str) -> QLabel:
        label = QLabel(textFormat=Qt.TextFormat.PlainText)
        label.setForegroundRole(role)
        label.setAccessibleName(name)
        label.setWordWrap(True)
        label.setFont(theme.small(label.font()))
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        return label

    def show_comparison(self, comparison: Comparison) -> None:
        """Show which precision to pick, and what is to be said of the runs."""
        found = notes(comparison)
        for label, grave in ((self.caveats, True), (self.remarks, False)):
            label.setText("\n".join(f"{'* ' * note.spoils}{note.sentence}" for note in found if note.is_grave is grave))
            label.setVisible(bool(label.text()))
        self.advice.setText(recommendation(comparison) or "")
        self.advice.setVisible(bool(self.advice.text()))
        self.setVisible(bool(found) or bool(self.advice.text()))
