"""What a window holds: it scrolls where the screen is too small for it, or the text too large."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QScrollArea, QWidget


def scrolling_page(content: QWidget) -> QScrollArea:
    """As large as the window, and never smaller than `content` needs to be."""
    page = QScrollArea()
    page.setFrameShape(QFrame.Shape.NoFrame)
    page.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    page.setWidgetResizable(True)
    page.setWidget(content)
    return page
