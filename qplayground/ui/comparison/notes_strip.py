"""Notes on the figures, in one place below all columns."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QPalette, QResizeEvent
from PySide6.QtWidgets import QWidget

from qplayground.core.commentary.notes import notes
from qplayground.core.commentary.recommendation import recommendation
from qplayground.core.comparison.results import Comparison
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.page import scroll_area
from qplayground.ui.widgets.parts import flat_button, in_column, in_row, selectable_label

LINES = 3
"""Lines shown while folded."""


class NotesStrip(QWidget):
    """One line per note; a note on several runs is shown once. Hidden if there are no notes.

    Beyond the first LINES, the text scrolls or is unfolded by a click.
    """

    def __init__(self) -> None:
        super().__init__()
        self.advice = selectable_label("Which precision to pick")
        self.caveats = selectable_label("What spoilt speeds, or sets figures apart", QPalette.ColorRole.BrightText)
        self.remarks = selectable_label(
            "What spoilt load times, and what explains figures", QPalette.ColorRole.PlaceholderText
        )
        self._labels = (self.advice, self.caveats, self.remarks)
        for label in self._labels:
            label.setFont(theme.small(label.font()))
        text = QWidget()
        in_column(*self._labels, within=text)
        self.area = scroll_area(text, name="Notes on the figures", only_down=True)
        self.more = flat_button("", checkable=True)
        self.more.setFont(theme.small(self.more.font()))
        self.more.toggled.connect(self._fit)
        self._row = in_row(
            self.area,
            self.more,
            within=self,
            grows=self.area,
            spacing=theme.HALF_GRID,
            margins=(theme.GRID + theme.HALF_GRID, 0, theme.GRID, theme.HALF_GRID),
        )
        self._row.setAlignment(self.more, Qt.AlignmentFlag.AlignBottom)
        theme.follow_text(self, self._fit)
        self.hide()

    def show_comparison(self, comparison: Comparison) -> None:
        """Show the recommended precision and the notes on the runs."""
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
        """Set the height: the first lines while folded, else the whole text."""
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
        return sum(label.heightForWidth(max(width, 1)) for label in self._labels if label.text())
