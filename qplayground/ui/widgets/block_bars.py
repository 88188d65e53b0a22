"""Bars over the lines of a list, each as long as its part is large."""

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, Qt
from PySide6.QtGui import QPainter, QPalette
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

SHARE = Qt.ItemDataRole.UserRole + 1
"""The role of an item's share of the list's width, 0 to 1."""
_OPACITY = 0.25


class BlockBars(QStyledItemDelegate):
    """Draws an item and a bar of its `SHARE`; what has a share at all has a pixel."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """The item as it is anyway, then the bar over it, which a selection would cover."""
        super().paint(painter, option, index)
        if share := index.data(SHARE):
            bar = QRect(option.rect).adjusted(0, 1, 0, -1)
            bar.setWidth(max(1, round(share * bar.width())))
            chosen = bool(option.state & QStyle.StateFlag.State_Selected)
            role = QPalette.ColorRole.HighlightedText if chosen else QPalette.ColorRole.Accent
            color = option.palette.color(role)
            color.setAlphaF(_OPACITY)
            painter.fillRect(bar, color)
