"""What a reader should know beside the figures, in one place below all columns."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QPalette, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QToolButton, QVBoxLayout, QWidget

from qplayground.core.commentary.notes import notes
from qplayground.core.commentary.recommendation import recommendation
from qplayground.core.comparison.results import Comparison
from qplayground.ui.widgets import theme

LINES = 3
"""What it takes of the columns' room before somebody asks for more."""


class NotesStrip(QWidget):
    """A line a note, what is true of several runs said once. Takes no room while there is nothing to say.

    What is beyond the first LINES is scrolled to, or unfolded by a click.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.advice = self._label(QPalette.ColorRole.WindowText, "Which precision to pick")
        self.caveats = self._label(QPalette.ColorRole.BrightText, "What spoilt speeds, or sets figures apart")
        self.remarks = self._label(
            QPalette.ColorRole.PlaceholderText, "What spoilt load times, and what explains figures"
        )
        self._text = QWidget()
        column = QVBoxLayout(self._text)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for label in (self.advice, self.caveats, self.remarks):
            column.addWidget(label)
        self.area = QScrollArea()
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setWidgetResizable(True)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setAccessibleName("Notes on the figures")
        self.area.setWidget(self._text)
        self.more = QToolButton()
        self.more.setCheckable(True)
        self.more.setAutoRaise(True)
        self.more.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.more.setFont(theme.small(self.more.font()))
        self.more.toggled.connect(self._fit)
        self._row = row = QHBoxLayout(self)
        row.setContentsMargins(theme.GRID + theme.HALF_GRID, 0, theme.GRID, theme.HALF_GRID)
        row.setSpacing(theme.HALF_GRID)
        row.addWidget(self.area, 1)
        row.addWidget(self.more, 0, Qt.AlignmentFlag.AlignBottom)
        theme.follow_text(self, self._fit)
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
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """As high as its text, or as its first lines while the rest is folded away."""
        margins = self._row.contentsMargins()
        width = self.width() - margins.left() - margins.right()
        least = LINES * self.advice.fontMetrics().lineSpacing() + theme.HALF_GRID
        is_long = self._height(width) > least
        self.more.setVisible(is_long)
        if is_long:
            width -= self.more.sizeHint().width() + theme.HALF_GRID
        whole = self._height(width)
        folded = is_long and not self.more.isChecked()
        self.more.setText("… more" if folded else "less")
        self.more.setToolTip("Show all notes" if folded else "Show the first notes alone, and more of the texts")
        self.area.setFixedHeight(least if folded else whole)

    def _height(self, width: int) -> int:
        shown = [label for label in (self.advice, self.caveats, self.remarks) if label.text()]
        return sum(label.heightForWidth(max(width, 1)) for label in shown)
