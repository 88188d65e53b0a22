"""Base classes of the tables of layers."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QSortFilterProxyModel, Qt
from PySide6.QtWidgets import QAbstractItemView, QTableView

Index = QModelIndex | QPersistentModelIndex
SORTED_BY = Qt.ItemDataRole.UserRole
"""Item role: the sort key of a cell. For the first column it is the layer's position in the model."""
_TOP = QModelIndex()
_Row = TypeVar("_Row")


class LayerRows(QAbstractTableModel, Generic[_Row]):
    """A table model with a row per layer and a tool tip for each heading. Subclasses provide the cells."""

    def __init__(self, headings: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._headings = headings
        self.rows: list[_Row] = []

    def rowCount(self, parent: Index = _TOP) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = _TOP) -> int:
        return 0 if parent.isValid() else len(self._headings)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation is Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return self._headings[section][0]
        if orientation is Qt.Orientation.Horizontal and role == Qt.ItemDataRole.ToolTipRole:
            return self._headings[section][1]
        return None


class SortedTable(QTableView):
    """Click a heading to sort. Names are elided at their start, because their end identifies the layer."""

    def __init__(self, name: str, rows: QAbstractTableModel) -> None:
        """`name` is for screen readers."""
        super().__init__(showGrid=False, wordWrap=False)
        self._sorted = QSortFilterProxyModel(self, sortRole=SORTED_BY)
        self._sorted.setSourceModel(rows)
        self.setModel(self._sorted)
        self.setAccessibleName(name)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setTextElideMode(Qt.TextElideMode.ElideLeft)
        self.setAlternatingRowColors(True)
        self.verticalHeader().hide()
