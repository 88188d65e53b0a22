"""Widgets beside each other and below each other."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QLayout, QSplitter, QVBoxLayout, QWidget

Part = QWidget | QLayout | tuple[QWidget | QLayout, int] | None
"""A widget or a box, either with its share of the room that is left; None for a gap that takes that room."""
Margins = tuple[int, int, int, int]
_NONE = (0, 0, 0, 0)


def row_of(*parts: Part, spacing: int = -1, margins: Margins = _NONE) -> QHBoxLayout:
    """Parts from left to right. Where no `spacing` is given, it is the look's."""
    box = QHBoxLayout()
    _fill(box, parts, spacing, margins)
    return box


def column_of(*parts: Part, spacing: int = -1, margins: Margins = _NONE) -> QVBoxLayout:
    """Parts from top to bottom, as in `row_of`."""
    box = QVBoxLayout()
    _fill(box, parts, spacing, margins)
    return box


def held(box: QBoxLayout) -> QWidget:
    """A widget with that in it."""
    widget = QWidget()
    widget.setLayout(box)
    return widget


def splitter(orientation: Qt.Orientation, *parts: QWidget) -> QSplitter:
    """Parts with handles between them, of which none can be folded away."""
    made = QSplitter(orientation, childrenCollapsible=False)
    for part in parts:
        made.addWidget(part)
    return made


def _fill(box: QBoxLayout, parts: tuple[Part, ...], spacing: int, margins: Margins) -> None:
    box.setContentsMargins(*margins)
    box.setSpacing(spacing)
    for part in parts:
        what, share = part if isinstance(part, tuple) else (part, 0)
        if what is None:
            box.addStretch()
        elif isinstance(what, QLayout):
            box.addLayout(what, share)
        else:
            box.addWidget(what, share)
