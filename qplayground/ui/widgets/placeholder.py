"""What is shown in place of what is not there yet."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QLabel, QStackedLayout, QWidget


class Placeholder(QWidget):
    """Says what will be shown until it is."""

    def __init__(self, text: str) -> None:
        super().__init__()
        # Wrapped, so that a sentence makes no window wider.
        label = QLabel(text, wordWrap=True, alignment=Qt.AlignmentFlag.AlignCenter)
        label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self._stack = QStackedLayout(self)
        self._stack.setContentsMargins(0, 0, 0, 0)
        self._stack.addWidget(label)

    @property
    def chart(self) -> QWidget | None:
        """What can be saved as a picture, if what was put there has a view."""
        view = getattr(self._stack.widget(1), "view", None)
        return view if isinstance(view, QWidget) else None

    def put(self, widget: QWidget) -> None:
        """Have that to be shown; once."""
        self._stack.addWidget(widget)

    def reveal(self, shown: bool = True) -> None:
        """Show it, or the sentence again."""
        self._stack.setCurrentIndex(int(shown and self._stack.count() > 1))
