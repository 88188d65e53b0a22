"""Scroll areas: for a window's whole content, if it does not fit the screen, and for parts of it."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QScrollArea, QWidget


def scroll_area(content: QWidget | None = None, *, name: str = "", only_down: bool = False) -> QScrollArea:
    """A frameless scroll area. `content` fills it, and scrolls if it needs more room; `only_down`: vertically only.

    `name` is for screen readers.
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
    """A page that fills the window. It scrolls if `content` needs more room."""
    page = scroll_area(content)
    page.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return page
