"""The Table tab: a row per precision, a column per figure, sortable and copyable."""

from collections.abc import Sequence

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QSortFilterProxyModel, Qt
from PySide6.QtGui import QGuiApplication, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QAbstractItemView, QTableView

from qplayground.core.comparison.metrics import METRICS, Metric, beside_text, shown_metrics
from qplayground.core.comparison.results import Comparison, Run
from qplayground.report.describe import name_text, state_text
from qplayground.report.table import cell_text
from qplayground.ui.widgets import theme

_Index = QModelIndex | QPersistentModelIndex
_TOP = QModelIndex()
_SORT = Qt.ItemDataRole.UserRole


class _FiguresModel(QAbstractTableModel):
    """Figures as text for display and as numbers for sorting. Missing figures sort last in ascending order."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[str, Comparison, Run]] = []
        self._metrics: tuple[Metric, ...] = ()

    def show(self, comparisons: Sequence[Comparison]) -> None:
        self.beginResetModel()
        prefixes = [f"{number} · " for number in range(1, 1 + len(comparisons))] if len(comparisons) > 1 else [""]
        self._rows = [
            (prefix, comparison, run)
            for prefix, comparison in zip(prefixes, comparisons, strict=False)
            for run in comparison.runs
        ]
        shown = {metric.key for comparison in comparisons for metric in shown_metrics(comparison)}
        self._metrics = tuple(metric for metric in METRICS if metric.key in shown)
        self.endResetModel()

    def rowCount(self, parent: _Index = _TOP) -> int:
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: _Index = _TOP) -> int:
        return 0 if parent.isValid() else 2 + len(self._metrics)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation is Qt.Orientation.Vertical or section >= self.columnCount():
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return ("Precision", "State")[section] if section < 2 else self._metrics[section - 2].title
        if role == Qt.ItemDataRole.ToolTipRole and section >= 2:
            return self._metrics[section - 2].description
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        (prefix, comparison, run), column = self._rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{prefix * (column == 0)}{self._text(comparison, run, column)}"
        if role == _SORT:
            return self._sort_key(comparison, run, column)
        if role == Qt.ItemDataRole.TextAlignmentRole and column >= 2:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole and column < 2:
            return theme.tip(run.precision.summary if run.error is None else str(run.error))
        if role == Qt.ItemDataRole.ToolTipRole:
            reason = self._metrics[column - 2].reason_missing(run)
            return theme.tip(reason) if reason else None
        return None

    def _text(self, comparison: Comparison, run: Run, column: int) -> str:
        if column == 0:
            return f"{name_text(run)} (baseline)" if run.id == comparison.baseline else name_text(run)
        if column == 1:
            return state_text(run)
        metric = self._metrics[column - 2]
        return f"{cell_text(metric, run, comparison)}  {beside_text(metric, run, comparison)}".rstrip()

    def _sort_key(self, comparison: Comparison, run: Run, column: int) -> object:
        if column < 2:
            return self._text(comparison, run, column)
        value = self._metrics[column - 2].read(run)
        return float("inf") if value is None else float(value)


class FiguresTable(QTableView):
    """Click a heading to sort; Ctrl+C copies the selection, Ctrl+A selects all. × is relative to the baseline."""

    def __init__(self) -> None:
        super().__init__(sortingEnabled=True, showGrid=False, wordWrap=False)
        self._figures = _FiguresModel()
        proxy = QSortFilterProxyModel(self)
        proxy.setSourceModel(self._figures)
        proxy.setSortRole(_SORT)
        self.setModel(proxy)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.setAccessibleName("Figures of every precision")
        self.setFont(theme.tabular(self.font()))
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setAlternatingRowColors(True)
        self.verticalHeader().hide()
        self.horizontalHeader().setHighlightSections(False)

    def show_comparisons(self, comparisons: Sequence[Comparison]) -> None:
        """Show every run's current figures. Several comparisons are numbered, each with ratios to its own baseline."""
        self._figures.show(comparisons)
        self.resizeColumnsToContents()

    def copy(self) -> None:
        """Copy the selected cells, or all, as tab-separated text with headings."""
        model = self.model()
        selected = {(index.row(), index.column()) for index in self.selectedIndexes()}
        everything = {(row, column) for row in range(model.rowCount()) for column in range(model.columnCount())}
        cells = selected or everything
        rows, columns = sorted({row for row, _ in cells}), sorted({column for _, column in cells})
        across = Qt.Orientation.Horizontal
        lines = ["\t".join(str(model.headerData(column, across)) for column in columns)]
        for row in rows:
            texts = [str(model.index(row, column).data()) if (row, column) in cells else "" for column in columns]
            lines.append("\t".join(texts))
        QGuiApplication.clipboard().setText("\n".join(lines))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        else:
            super().keyPressEvent(event)
