"""A sortable table of measured layers."""

from PySide6.QtCore import QModelIndex, Qt, Signal, Slot
from PySide6.QtWidgets import QHeaderView

from qplayground.core.inside import LayerRow
from qplayground.core.units import share_text, significant
from qplayground.ui.inside.layer_rows import SORTED_BY, Index, LayerRows, SortedTable
from qplayground.ui.widgets import theme

_HEADINGS = (
    ("Layer", "The layer, in the order of the model; double-click a row to look at its matrix"),
    ("Method", "What the weights are quantized by"),
    ("Error", "Relative error: the root of the errors' squares over that of the weights' squares"),
    ("SNR, dB", "Signal-to-noise ratio in decibels"),
    ("Bits", "Bits a weight, scales included"),
    ("Largest", "The largest single error"),
)
_WIDEST = ("", "INT8 by block", "0.000 %", "SNR, dB", "0.000", "0.00000")
"""The widest usual text of each column."""
_METHOD = 1
_PADDING = 8
"""Horizontal padding of a cell, in pixels, both sides together."""


class _Rows(LayerRows[LayerRow]):
    def clear(self) -> None:
        self.beginResetModel()
        self.rows.clear()
        self.endResetModel()

    def add(self, row: LayerRow) -> None:
        self.beginInsertRows(QModelIndex(), len(self.rows), len(self.rows))
        self.rows.append(row)
        self.endInsertRows()

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        row, column = self.rows[index.row()], index.column()
        figures = row.figures
        if role == Qt.ItemDataRole.TextAlignmentRole and column > _METHOD:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole:
            return theme.tip(f"{row.module}: {row.params.label}")
        if role == SORTED_BY:
            snr = float("inf") if figures.snr_db is None else figures.snr_db
            figure = (figures.relative_error, snr, figures.bits_per_weight, figures.max_abs_error)
            return (index.row(), row.params.label, *figure)[column]
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return (
            row.module,
            row.params.kind.label,
            share_text(figures.relative_error),
            "–" if figures.snr_db is None else significant(figures.snr_db),
            significant(figures.bits_per_weight, 4),
            significant(figures.max_abs_error),
        )[column]


class LayersTable(SortedTable):
    """Fills its width; layer names are elided at their start to fit.

    The method column is shown only if there are several methods. Block size and the like are in the tool tips, because
    they are the same in all rows.

    Signal: `module_chosen(str)` when a row is activated.
    """

    module_chosen = Signal(str)

    def __init__(self) -> None:
        self._rows = _Rows(_HEADINGS)
        super().__init__("What quantizing costs each layer", self._rows)
        self.setToolTip("Double-click a layer to look at it")
        self.setTabKeyNavigation(False)
        self.setFont(theme.tabular(theme.small(self.font())))
        header = self.horizontalHeader()
        header.setMinimumSectionSize(theme.GRID)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        theme.follow_text(self, self._fit_text)
        self.setColumnHidden(_METHOD, True)
        self.activated.connect(self._on_activated)

    def _fit_text(self) -> None:
        self.horizontalHeader().setFont(self.font())
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().lineSpacing() + theme.HALF_GRID)
        for column, text in enumerate(_WIDEST):
            self.setColumnWidth(column, self.fontMetrics().horizontalAdvance(text) + _PADDING)

    @property
    def rows(self) -> list[LayerRow]:
        """The rows in order of arrival."""
        return self._rows.rows

    def clear(self) -> None:
        """Remove all rows."""
        self._rows.clear()
        self.setColumnHidden(_METHOD, True)

    def add_row(self, row: LayerRow) -> None:
        """Append a row."""
        self._rows.add(row)
        if row.params != self.rows[0].params:
            self.setColumnHidden(_METHOD, False)

    @Slot(QModelIndex)
    def _on_activated(self, index: QModelIndex) -> None:
        self.module_chosen.emit(self.rows[self._sorted.mapToSource(index).row()].module)
