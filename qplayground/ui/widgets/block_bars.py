"""Bars drawn over the items of a list, proportional to their sizes."""

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, Qt
from PySide6.QtGui import QPainter, QPalette
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

SHARE = Qt.ItemDataRole.UserRole + 1
"""Item role: the bar's length as a share of the list's width, 0 to 1."""
_OPACITY = 0.25


class BlockBars(QStyledItemDelegate):
    """Draws an item, then a bar of length `SHARE` over it. A share above 0 gets at least one pixel."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draw the item first, then the bar, so that a selection does not cover the bar."""
        super().paint(painter, option, index)
        if share := index.data(SHARE):
            bar = QRect(option.rect).adjusted(0, 1, 0, -1)
            bar.setWidth(max(1, round(share * bar.width())))
            chosen = bool(option.state & QStyle.StateFlag.State_Selected)
            role = QPalette.ColorRole.HighlightedText if chosen else QPalette.ColorRole.Accent
            color = option.palette.color(role)
            color.setAlphaF(_OPACITY)
            painter.fillRect(bar, color)
