"""Texts in a window."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel


def selectable_label(name: str = "", *, wraps: bool = True) -> QLabel:
    """A text that is shown as it is and can be copied. `name` is what a screen reader calls it."""
    flags = Qt.TextInteractionFlag.TextSelectableByMouse
    label = QLabel(textFormat=Qt.TextFormat.PlainText, wordWrap=wraps, textInteractionFlags=flags)
    label.setAccessibleName(name)
    return label
