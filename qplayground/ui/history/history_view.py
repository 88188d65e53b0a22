"""The History tab: every past comparison, with search as you type."""

from concurrent.futures import Future

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QHideEvent, QPalette, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QInputDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QTableView,
    QWidget,
)

from qplayground.core.comparison.results import Comparison
from qplayground.core.errors import PlaygroundError
from qplayground.runtime.storage.history import History
from qplayground.runtime.storage.history_rows import HistoryEntry
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import button, in_column, in_row

_COLUMNS = ("Date", "Model", "Precisions", "State", "Prompt", "Note")
_WIDTHS = (150, 170, 160, 130, 200)
_LOOK_MS = 2000
_TOP = QModelIndex()
_Index = QModelIndex | QPersistentModelIndex


class _EntriesModel(QAbstractTableModel):
    def __init__(self) -> None:
        super().__init__()
        self.entries: list[HistoryEntry] = []

    def show(self, entries: list[HistoryEntry]) -> None:
        if [entry.id for entry in entries] == [entry.id for entry in self.entries]:
            self.entries = entries
            if entries:
                self.dataChanged.emit(self.index(0, 0), self.index(len(entries) - 1, len(_COLUMNS) - 1))
            return  # a reset would lose the scroll position
        self.beginResetModel()
        self.entries = entries
        self.endResetModel()

    def rowCount(self, parent: _Index = _TOP) -> int:
        return 0 if parent.isValid() else len(self.entries)

    def columnCount(self, parent: _Index = _TOP) -> int:
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation is Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[section]
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        entry = self.entries[index.row()]
        if role == Qt.ItemDataRole.ToolTipRole:
            text = str(self.data(index))
            return theme.tip(f"{text} · placement: {entry.placed}" if entry.placed else text)
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        date = entry.started_at.replace("T", " ").removesuffix("+00:00")
        return (date, entry.model, entry.precisions, entry.state, entry.prompt, entry.note)[index.column()]


class HistoryView(QWidget):
    """The list of past comparisons. While visible, it also picks up comparisons from other windows.

    Signals: `opened(list[Comparison])`, one or two to show; `deleted(list[str])`, their ids.
    """

    opened = Signal(object)
    deleted = Signal(object)
    _written = Signal(str)

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history
        self._running: frozenset[str] = frozenset()
        self._look = QTimer(self, interval=_LOOK_MS)
        self._look.timeout.connect(self._on_look)
        self.search = QLineEdit(
            placeholderText="Search by model, precision, prompt, date or note", clearButtonEnabled=True
        )
        self.search.setAccessibleName("Search the history")
        self.open = button("Open", self._on_open, "Open the marked comparison, or two beside each other (Return)")
        self.annotate = button("Note…", self._on_annotate, "Write a note beside the marked comparison")
        self.delete = button("Delete…", self._on_delete, "Delete the marked comparisons")
        self.message = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.message.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self._entries = _EntriesModel()
        self.table = QTableView(showGrid=False, wordWrap=False)
        self._build_table()
        in_column(
            in_row(self.search, self.message, self.open, self.annotate, self.delete, grows=self.search),
            self.table,
            within=self,
            grows=self.table,
            spacing=theme.HALF_GRID,
            margins=(theme.GRID, theme.HALF_GRID, theme.GRID, theme.HALF_GRID),
        )
        self.search.textChanged.connect(self.refresh)
        self.table.activated.connect(self._on_open)
        self._written.connect(self._after_write)
        self._show_buttons()

    def _build_table(self) -> None:
        self.table.setModel(self._entries)
        self.table.setAccessibleName("Comparisons that were run")
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.setAlternatingRowColors(True)
        self.table.setTabKeyNavigation(False)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)  # measuring rows takes seconds
        theme.follow_text(self.table, self._fit_rows)
        self.table.horizontalHeader().setStretchLastSection(True)
        for column, width in enumerate(_WIDTHS):
            self.table.setColumnWidth(column, round(width * theme.text_scale()))
        self.table.selectionModel().selectionChanged.connect(self._show_buttons)

    def _fit_rows(self) -> None:
        self.table.verticalHeader().setDefaultSectionSize(self.table.fontMetrics().lineSpacing() + theme.HALF_GRID)

    # ---- model → widget --------------------------------------------------------------------------------------

    @Slot()
    def refresh(self) -> None:
        """Show the comparisons that match the search. The selection is kept."""
        marked = {entry.id for entry in self.marked()}
        self._running = self._history.running()
        entries = self._history.entries(self.search.text())
        self._entries.show(entries)
        count = f"{len(entries):,} comparison{'s' * (len(entries) != 1)}"
        self.message.setText(self._history.problem or self._history.notice or count)
        selection = self.table.selectionModel()
        for row, entry in enumerate(entries if marked else []):
            if entry.id in marked:
                flags = selection.SelectionFlag.Select | selection.SelectionFlag.Rows
                selection.select(self._entries.index(row, 0), flags)
        self._show_buttons()

    @Slot()
    def _on_look(self) -> None:
        """Refresh only if the running comparisons changed. They are read in under 1 ms; the list takes longer."""
        if self._history.running() != self._running:
            self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._look.start()

    def hideEvent(self, event: QHideEvent) -> None:
        self._look.stop()
        super().hideEvent(event)

    def marked(self) -> list[HistoryEntry]:
        """The selected comparisons, from top to bottom."""
        rows = sorted({index.row() for index in self.table.selectionModel().selectedRows()})
        return [self._entries.entries[row] for row in rows if row < len(self._entries.entries)]

    @Slot()
    def _show_buttons(self) -> None:
        count = len(self.marked())
        self.open.setEnabled(count in (1, 2))
        self.open.setText("Compare two" if count == 2 else "Open")
        self.annotate.setEnabled(count == 1)
        self.delete.setEnabled(count > 0)

    # ---- widget → model --------------------------------------------------------------------------------------

    @Slot()
    def _on_open(self) -> None:
        comparisons: list[Comparison] = []
        try:
            comparisons = [self._history.load(entry.id) for entry in self.marked()[:2]]
        except PlaygroundError as error:
            self.message.setText(str(error))
        if comparisons:
            self.opened.emit(comparisons)

    @Slot()
    def _on_annotate(self) -> None:
        (entry,) = self.marked()
        note, accepted = QInputDialog.getText(self, "Note", "Note beside this comparison:", text=entry.note)
        if not accepted:
            return
        self._history.annotate(entry.id, note).add_done_callback(self._on_written)

    @Slot()
    def _on_delete(self) -> None:
        marked = self.marked()
        what = "this comparison" if len(marked) == 1 else f"these {len(marked)} comparisons"
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        question = f"Delete {what} from the history? This cannot be undone."
        if QMessageBox.question(self, "Delete", question, yes | no, no) == yes:
            ids = [entry.id for entry in marked]
            self.deleted.emit(ids)
            self._history.delete(ids).add_done_callback(self._on_written)

    def _on_written(self, outcome: "Future[None]") -> None:
        """Called on the history's thread. The signal crosses to the GUI thread."""
        error = outcome.exception()
        self._written.emit("" if error is None else f"The history could not be written: {error}.")

    @Slot(str)
    def _after_write(self, problem: str) -> None:
        self.refresh()
        if problem:
            self.message.setText(problem)
