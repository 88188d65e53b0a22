"""What every chart is: a widget that takes the palette's colours and the text's size again when they change."""

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QWidget


class Chart(QWidget):
    """A subclass paints itself in `_paint`, and calls it once when it is built."""

    _is_painted = False

    def _paint(self) -> None:
        """Take the palette's colours, and draw. Subclasses begin with this."""
        self._is_painted = True

    def changeEvent(self, event: QEvent) -> None:
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and self._is_painted:
            self._paint()
        super().changeEvent(event)
