"""Default window size."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QWidget

USUAL = QSize(1280, 720)
_FRAME = QSize(16, 48)
"""Estimated title bar and borders. The window manager reports the real ones only after the window is shown."""


def size_for_screen(window: QWidget) -> None:
    """Give the window its default size, or maximize it if it would not fit on the screen."""
    window.resize(USUAL)
    needed, free = USUAL + _FRAME, window.screen().availableGeometry().size()
    if needed.boundedTo(free) != needed:
        window.setWindowState(window.windowState() | Qt.WindowState.WindowMaximized)
