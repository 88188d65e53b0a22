"""Helpers that build layouts, labels and buttons, each in one expression."""

from collections.abc import Callable, Iterable

from PySide6.QtCore import Qt, SignalInstance
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QBoxLayout,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QSplitter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from qplayground.ui.widgets import theme

Part = QWidget | QLayout | None
"""None is a stretch."""
Margins = int | tuple[int, int, int, int]
Act = Callable[..., object] | SignalInstance


def in_row(
    *parts: Part,
    within: QWidget | None = None,
    grows: QWidget | QLayout | None = None,
    spacing: int = theme.GRID,
    margins: Margins = 0,
) -> QHBoxLayout:
    """A horizontal layout of `parts`. `within` is the widget it is set on; `grows` gets the remaining space."""
    layout = QHBoxLayout() if within is None else QHBoxLayout(within)
    _fill(layout, parts, grows, spacing, margins)
    return layout


def in_column(
    *parts: Part,
    within: QWidget | None = None,
    grows: QWidget | QLayout | None = None,
    spacing: int = 0,
    margins: Margins = 0,
) -> QVBoxLayout:
    """A vertical layout of `parts`; arguments as in `in_row`."""
    layout = QVBoxLayout() if within is None else QVBoxLayout(within)
    _fill(layout, parts, grows, spacing, margins)
    return layout


def _fill(
    layout: QBoxLayout, parts: tuple[Part, ...], grows: QWidget | QLayout | None, spacing: int, margins: Margins
) -> None:
    left, top, right, bottom = (margins,) * 4 if isinstance(margins, int) else margins
    layout.setContentsMargins(left, top, right, bottom)
    layout.setSpacing(spacing)
    for part in parts:
        if part is None:
            layout.addStretch()
        elif isinstance(part, QWidget):
            layout.addWidget(part, int(part is grows))
        else:
            layout.addLayout(part, int(part is grows))


def held(box: QBoxLayout) -> QWidget:
    """A widget with this layout."""
    widget = QWidget()
    widget.setLayout(box)
    return widget


def splitter(orientation: Qt.Orientation, *parts: QWidget) -> QSplitter:
    """A splitter whose parts cannot be collapsed."""
    made = QSplitter(orientation, childrenCollapsible=False)
    for part in parts:
        made.addWidget(part)
    return made


def heading(text: str = "") -> QLabel:
    """A bold label."""
    label = QLabel(text, textFormat=Qt.TextFormat.PlainText)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


def caption(text: str, buddy: QWidget) -> QLabel:
    """The label of a field. Its mnemonic focuses `buddy`."""
    label = QLabel(text)
    label.setBuddy(buddy)
    return label


def selectable_label(
    name: str = "", role: QPalette.ColorRole = QPalette.ColorRole.WindowText, *, wraps: bool = True
) -> QLabel:
    """A plain-text label whose text can be selected and copied. `name` is for screen readers."""
    label = QLabel(
        textFormat=Qt.TextFormat.PlainText,
        wordWrap=wraps,
        textInteractionFlags=Qt.TextInteractionFlag.TextSelectableByMouse,
    )
    label.setForegroundRole(role)
    label.setAccessibleName(name)
    return label


def note(text: str) -> QLabel:
    """A small, muted, word-wrapped label for explanations."""
    label = QLabel(text, textFormat=Qt.TextFormat.PlainText, wordWrap=True)
    label.setFont(theme.small(label.font()))
    label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
    return label


def choice(name: str, items: Iterable[tuple[str, object]]) -> QComboBox:
    """A combo box of (text, data) items. `name` is for screen readers."""
    box = QComboBox()
    box.setAccessibleName(name)
    for text, data in items:
        box.addItem(text, data)
    return box


def button(text: str, act: Act, tip: str = "") -> QPushButton:
    """A push button that calls `act`."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.clicked.connect(act)
    return made


def flat_button(text: str, tip: str = "", act: Act | None = None, *, checkable: bool = False) -> QToolButton:
    """A tool button without a frame until hovered. The Tab key still reaches it."""
    made = QToolButton(autoRaise=True)
    made.setText(text)
    made.setToolTip(tip)
    made.setCheckable(checkable)
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    if act is not None:
        made.clicked.connect(act)
    return made
