"""What widgets are put together from, an expression each: rows and columns, labels, buttons."""

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
"""None is room that stretches."""
Margins = int | tuple[int, int, int, int]
Act = Callable[..., object] | SignalInstance


def in_row(
    *parts: Part,
    within: QWidget | None = None,
    grows: QWidget | QLayout | None = None,
    spacing: int = theme.GRID,
    margins: Margins = 0,
) -> QHBoxLayout:
    """These beside each other. `within` is the widget that they fill; `grows` is the one that takes what is left."""
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
    """These above each other, as in a row."""
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


def heading(text: str = "") -> QLabel:
    """A bold line."""
    label = QLabel(text, textFormat=Qt.TextFormat.PlainText)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


def caption(text: str, buddy: QWidget) -> QLabel:
    """What stands before a field, with the key that leads there."""
    label = QLabel(text)
    label.setBuddy(buddy)
    return label


def selectable_label(
    name: str = "", role: QPalette.ColorRole = QPalette.ColorRole.WindowText, *, wraps: bool = True
) -> QLabel:
    """A text that is shown as it is and can be copied; `name` is for a screen reader."""
    label = QLabel(
        textFormat=Qt.TextFormat.PlainText,
        wordWrap=wraps,
        textInteractionFlags=Qt.TextInteractionFlag.TextSelectableByMouse,
    )
    label.setForegroundRole(role)
    label.setAccessibleName(name)
    return label


def note(text: str) -> QLabel:
    """A text that explains, smaller and paler than others, and broken where it has to be."""
    label = QLabel(text, textFormat=Qt.TextFormat.PlainText, wordWrap=True)
    label.setFont(theme.small(label.font()))
    label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
    return label


def choice(name: str, items: Iterable[tuple[str, object]]) -> QComboBox:
    """A box with these texts, each with what it stands for; `name` is for a screen reader."""
    box = QComboBox()
    box.setAccessibleName(name)
    for text, data in items:
        box.addItem(text, data)
    return box


def button(text: str, act: Act, tip: str = "") -> QPushButton:
    """A push button that does that."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.clicked.connect(act)
    return made


def flat_button(text: str, tip: str = "", act: Act | None = None, *, checkable: bool = False) -> QToolButton:
    """One without a frame until the mouse is over it; the Tab key comes to it all the same."""
    made = QToolButton(autoRaise=True)
    made.setText(text)
    made.setToolTip(tip)
    made.setCheckable(checkable)
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    if act is not None:
        made.clicked.connect(act)
    return made
