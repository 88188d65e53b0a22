"""How many input dimensions of each layer reach the threshold."""

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QSortFilterProxyModel, Qt, Signal
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from qplayground.core.units import significant
from qplayground.ui.charts.inside.outliers import outliers_at
from qplayground.ui.widgets import theme

Magnitudes = NDArray[np.float32]

_Index = QModelIndex | QPersistentModelIndex
_TOP = QModelIndex()
_SORT = Qt.ItemDataRole.UserRole
_NAME = Qt.ItemDataRole.UserRole + 1
_HEADINGS = (
    ("Layer", "In the order in which they compute"),
    ("Outliers", "Input dimensions whose largest magnitude on the prompt reaches the threshold"),
    ("of", "Input dimensions of the layer"),
    ("Largest", "The largest magnitude that went into the layer"),
)


class _LayersModel(QAbstractTableModel):
    """Texts for the display, numbers for sorting. Layers sort by their place in the model."""

    def __init__(self) -> None:
        super().__init__()
        self._layers: list[tuple[str, Magnitudes]] = []
        self._counts: list[int] = []
        self._threshold = 0.0

    def show(self, layers: list[tuple[str, Magnitudes]], threshold: float) -> None:
        self.beginResetModel()
        self._layers = layers
        self._count(threshold)
        self.endResetModel()

    def set_threshold(self, threshold: float) -> None:
        self._count(threshold)
        if self._layers:
            self.dataChanged.emit(self.index(0, 1), self.index(len(self._layers) - 1, 1))

    def _count(self, threshold: float) -> None:
        self._threshold = threshold
        self._counts = [int(np.count_nonzero(outliers_at(magnitudes, threshold))) for _, magnitudes in self._layers]

    def table(self) -> list[list[object]]:
        heading: list[object] = ["layer", f"outliers at {self._threshold}", "input dimensions", "largest magnitude"]
        rows: list[list[object]] = [
            [name, count, len(magnitudes), float(magnitudes.max(initial=0))]
            for (name, magnitudes), count in zip(self._layers, self._counts, strict=True)
        ]
        return [heading, *rows] if rows else []

    def row_of(self, module: str) -> int:
        return next((row for row, (name, _) in enumerate(self._layers) if name == module), -1)

    def rowCount(self, parent: _Index = _TOP) -> int:
        return 0 if parent.isValid() else len(self._layers)

    def columnCount(self, parent: _Index = _TOP) -> int:
        return 0 if parent.isValid() else len(_HEADINGS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation is Qt.Orientation.Vertical:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return _HEADINGS[section][0]
        return _HEADINGS[section][1] if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        name, magnitudes = self._layers[index.row()]
        values = (index.row(), self._counts[index.row()], len(magnitudes), float(magnitudes.max(initial=0)))
        column = index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return name if column == 0 else significant(values[3]) if column == 3 else f"{values[column]:,}"
        if role == _SORT:
            return values[column]
        if role == _NAME:
            return name
        if role == Qt.ItemDataRole.ToolTipRole and column == 0:
            return theme.tip(name)
        if role == Qt.ItemDataRole.TextAlignmentRole and column:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None


class OutliersTable(QTableView):
    """A row a layer; click a heading to sort. Signal: `module_chosen(str)` when a person chooses a row."""

    module_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__(showGrid=False, wordWrap=False)
        self._layers = _LayersModel()
        self._proxy = QSortFilterProxyModel(self, sortRole=_SORT)
        self._proxy.setSourceModel(self._layers)
        self._proxy.setDynamicSortFilter(False)  # rows hold still under a moving threshold
        self.setModel(self._proxy)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setAccessibleName("Outliers of every layer")
        self.setFont(theme.tabular(self.font()))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideLeft)  # the end of a name tells layers apart
        self.setAlternatingRowColors(True)
        self.verticalHeader().hide()
        theme.follow_text(
            self, lambda: self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + theme.GRID)
        )
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.selectionModel().currentRowChanged.connect(self._on_current_changed)

    def show_layers(self, layers: list[tuple[str, Magnitudes]], threshold: float) -> None:
        """Show these, in the model's order unless another heading was clicked."""
        self._layers.show(layers, threshold)
        self._proxy.sort(self._proxy.sortColumn(), self._proxy.sortOrder())

    def set_threshold(self, threshold: float) -> None:
        """Count anew; the order stays until a heading is clicked."""
        self._layers.set_threshold(threshold)

    def choose(self, module: str) -> None:
        """Select that layer's row."""
        row = self._layers.row_of(module)
        if row >= 0:
            self.setCurrentIndex(self._proxy.mapFromSource(self._layers.index(row, 0)))

    def table(self) -> list[list[object]]:
        """The layers in the model's order, for a file."""
        return self._layers.table()

    def _on_current_changed(self, current: QModelIndex) -> None:
        if current.isValid():
            self.module_chosen.emit(current.data(_NAME))
