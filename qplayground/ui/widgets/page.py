"""What scrolls: all that a window holds where the screen is too small for it or the text too large, and parts of it."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QScrollArea, QWidget


def scroll_area(content: QWidget | None = None, *, name: str = "", only_down: bool = False) -> QScrollArea:
    """Without a frame. `content` gets the room that there is, or more if it needs it; `only_down`: more height alone.

    `name` is for a screen reader.
    """
    area = QScrollArea(widgetResizable=True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setAccessibleName(name)
    if only_down:
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    if content is not None:
        area.setWidget(content)
    return area


def scrolling_page(content: QWidget) -> QScrollArea:
    """As large as the window, and never smaller than `content` needs to be."""
    page = scroll_area(content)
    page.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return page
