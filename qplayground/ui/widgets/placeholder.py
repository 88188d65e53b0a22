"""A sentence shown until the real content exists."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QLabel, QStackedLayout, QWidget


class Placeholder(QWidget):
    """Shows `text` until the content is revealed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        # Wrapped, so that a long sentence does not widen the window.
        label = QLabel(text, wordWrap=True, alignment=Qt.AlignmentFlag.AlignCenter)
        label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self._stack = QStackedLayout(self)
        self._stack.setContentsMargins(0, 0, 0, 0)
        self._stack.addWidget(label)

    @property
    def chart(self) -> QWidget | None:
        """The content's view, which can be saved as a picture; None if it has none."""
        view = getattr(self._stack.widget(1), "view", None)
        return view if isinstance(view, QWidget) else None

    def put(self, widget: QWidget) -> None:
        """Set the content. Call it once."""
        self._stack.addWidget(widget)

    def reveal(self, shown: bool = True) -> None:
        """Show the content, or the sentence again."""
        self._stack.setCurrentIndex(int(shown and self._stack.count() > 1))
