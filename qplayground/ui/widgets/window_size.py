"""How large a window is of which nothing is kept."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QWidget

USUAL = QSize(1280, 720)
_FRAME = QSize(16, 48)
"""A title bar and borders. Only the window manager knows them, and tells when the window is there already."""


def size_for_screen(window: QWidget) -> None:
    """The usual size; the whole screen where a part would lie beyond its edge."""
    window.resize(USUAL)
    needed, free = USUAL + _FRAME, window.screen().availableGeometry().size()
    if needed.boundedTo(free) != needed:
        window.setWindowState(window.windowState() | Qt.WindowState.WindowMaximized)
