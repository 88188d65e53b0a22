"""Layers that were measured, as a sortable table."""

from collections.abc import Sequence

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtWidgets import QAbstractItemView, QTableView, QWidget

from qplayground.core.inside import LayerRow
from qplayground.core.units import share_text, significant
from qplayground.ui import theme

_COLUMNS = ("Layer", "Relative error", "SNR, dB", "Bits a weight", "Largest error", "Stored as")
_WIDTHS = (150, 88, 60, 84, 84, 150)
_TOP = QModelIndex()
_SORTED_BY = Qt.ItemDataRole.UserRole
_Index = QModelIndex | QPersistentModelIndex


class _Rows(QAbstractTableModel):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[LayerRow] = []

    def show(self, rows: Sequence[LayerRow]) -> None:
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def add(self, row: LayerRow) -> None:
        self.beginInsertRows(_TOP, len(self.rows), len(self.rows))
        self.rows.append(row)
        self.endInsertRows()

    def rowCount(self, parent: _Index = _TOP) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: _Index = _TOP) -> int:
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation is Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[section]
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        row, column = self.rows[index.row()], index.column()
        figures = row.figures
        if role == Qt.ItemDataRole.TextAlignmentRole and 0 < column < len(_COLUMNS) - 1:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole:
            return theme.tip(f"{row.module}: {row.knobs.label}")
        if role == _SORTED_BY:  # the first column sorts in the model's order
            snr = float("inf") if figures.snr_db is None else figures.snr_db
            figure = (figures.relative_error, snr, figures.bits_per_weight, figures.max_abs_error)
            return (index.row(), *figure, row.knobs.label)[column]
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return (
            row.module,
            share_text(figures.relative_error),
            "–" if figures.snr_db is None else significant(figures.snr_db),
            significant(figures.bits_per_weight, 4),
            significant(figures.max_abs_error),
            row.knobs.label,
        )[column]


class LayersTable(QTableView):
    """Signal: `module_chosen(str)` when a row is activated."""

    module_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows = _Rows()
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self._rows)
        self._sorted.setSortRole(_SORTED_BY)
        self.setModel(self._sorted)
        self.setAccessibleName("What quantizing costs each layer")
        self.setToolTip("Double-click a layer to look at it")
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideLeft)  # the end of a name tells layers apart
        self.setAlternatingRowColors(True)
        self.setTabKeyNavigation(False)
        self.setFont(theme.tabular(self.font()))
        self.verticalHeader().hide()
        theme.follow_text(
            self,
            lambda: self.verticalHeader().setDefaultSectionSize(self.fontMetrics().lineSpacing() + theme.HALF_GRID),
        )
        self.horizontalHeader().setStretchLastSection(True)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)
        self.activated.connect(self._on_activated)

    @property
    def rows(self) -> list[LayerRow]:
        """In the order in which they came."""
        return self._rows.rows

    def show_rows(self, rows: Sequence[LayerRow]) -> None:
        """Show these."""
        self._rows.show(rows)

    def add_row(self, row: LayerRow) -> None:
        """Show one more."""
        self._rows.add(row)

    @Slot(QModelIndex)
    def _on_activated(self, index: QModelIndex) -> None:
        self.module_chosen.emit(self._rows.rows[self._sorted.mapToSource(index).row()].module)
