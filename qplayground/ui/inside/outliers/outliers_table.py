"""A table of how many input dimensions of each layer reach the threshold."""

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QModelIndex, Qt, Signal
from PySide6.QtWidgets import QAbstractItemView, QHeaderView

from qplayground.core.units import significant
from qplayground.ui.charts.inside.outliers import outliers_at
from qplayground.ui.inside.layer_rows import SORTED_BY, Index, LayerRows, SortedTable
from qplayground.ui.widgets import theme

Magnitudes = NDArray[np.float32]

_NAME = Qt.ItemDataRole.UserRole + 1
_HEADINGS = (
    ("Layer", "In the order in which they compute"),
    ("Outliers", "Input dimensions whose largest magnitude on the prompt reaches the threshold"),
    ("of", "Input dimensions of the layer"),
    ("Largest", "The largest magnitude among the layer's inputs"),
)


class _Rows(LayerRows[tuple[str, Magnitudes]]):
    """Texts for display, numbers for sorting."""

    def __init__(self) -> None:
        super().__init__(_HEADINGS)
        self._counts: list[int] = []
        self._threshold = 0.0

    def show(self, layers: list[tuple[str, Magnitudes]], threshold: float) -> None:
        self.beginResetModel()
        self.rows = layers
        self._count(threshold)
        self.endResetModel()

    def set_threshold(self, threshold: float) -> None:
        self._count(threshold)
        if self.rows:
            self.dataChanged.emit(self.index(0, 1), self.index(len(self.rows) - 1, 1))

    def _count(self, threshold: float) -> None:
        self._threshold = threshold
        self._counts = [int(np.count_nonzero(outliers_at(magnitudes, threshold))) for _, magnitudes in self.rows]

    def table(self) -> list[list[object]]:
        heading: list[object] = ["layer", f"outliers at {self._threshold}", "input dimensions", "largest magnitude"]
        rows: list[list[object]] = [
            [name, count, len(magnitudes), float(magnitudes.max(initial=0))]
            for (name, magnitudes), count in zip(self.rows, self._counts, strict=True)
        ]
        return [heading, *rows] if rows else []

    def row_of(self, module: str) -> int:
        return next((row for row, (name, _) in enumerate(self.rows) if name == module), -1)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        name, magnitudes = self.rows[index.row()]
        values = (index.row(), self._counts[index.row()], len(magnitudes), float(magnitudes.max(initial=0)))
        column = index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return name if column == 0 else significant(values[3]) if column == 3 else f"{values[column]:,}"
        if role == SORTED_BY:
            return values[column]
        if role == _NAME:
            return name
        if role == Qt.ItemDataRole.ToolTipRole and column == 0:
            return theme.tip(name)
        if role == Qt.ItemDataRole.TextAlignmentRole and column:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None


class OutliersTable(SortedTable):
    """A row per layer; click a heading to sort. Signal: `module_chosen(str)` when the user selects a row."""

    module_chosen = Signal(str)

    def __init__(self) -> None:
        self._rows = _Rows()
        super().__init__("Outliers of every layer", self._rows)
        self._sorted.setDynamicSortFilter(False)  # rows must not move while the threshold changes
        self.setFont(theme.tabular(self.font()))
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        theme.follow_text(
            self, lambda: self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + theme.GRID)
        )
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.selectionModel().currentRowChanged.connect(self._on_current_changed)

    def show_layers(self, layers: list[tuple[str, Magnitudes]], threshold: float) -> None:
        """Show these layers, in the model's order unless another heading was clicked."""
        self._rows.show(layers, threshold)
        self._sorted.sort(self._sorted.sortColumn(), self._sorted.sortOrder())

    def set_threshold(self, threshold: float) -> None:
        """Count again. Rows are not sorted again until a heading is clicked."""
        self._rows.set_threshold(threshold)

    def choose(self, module: str) -> None:
        """Select that layer's row."""
        row = self._rows.row_of(module)
        if row >= 0:
            self.setCurrentIndex(self._sorted.mapFromSource(self._rows.index(row, 0)))

    def table(self) -> list[list[object]]:
        """The layers in the model's order, for saving."""
        return self._rows.table()

    def _on_current_changed(self, current: QModelIndex) -> None:
        if current.isValid():
            self.module_chosen.emit(current.data(_NAME))
