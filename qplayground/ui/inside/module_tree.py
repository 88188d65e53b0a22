"""The modules of a model as a tree: what they are, what they take in each precision, and why one is not quantized."""

from collections.abc import Sequence

from PySide6.QtCore import QItemSelectionModel, QModelIndex, QSortFilterProxyModel, Qt, Signal, Slot
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QAbstractItemView, QLineEdit, QTreeView, QVBoxLayout, QWidget

from qplayground.core.inside import ModelOutline, ModuleOutline
from qplayground.core.units import bytes_text
from qplayground.ui import theme

_FIRST = ("Module", "Kind", "Shape", "Now")
_WHY = "Not quantized, because"
_NAME_WIDTH = 190
_WHOLE = "whole model"
_UNKNOWN = "unknown"
_MODULE = Qt.ItemDataRole.UserRole + 1


class ModuleTree(QWidget):
    """A search field above the tree. Signal: `module_chosen(str)` for a module whose weight can be looked at."""

    module_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search by name")
        self.search.setClearButtonEnabled(True)
        self.search.setAccessibleName("Search a module by name")
        self.search.textChanged.connect(self._on_search)
        self._model = QStandardItemModel(self)
        self._filter = QSortFilterProxyModel(self)
        self._filter.setSourceModel(self._model)
        self._filter.setRecursiveFilteringEnabled(True)
        self._filter.setFilterRole(_MODULE)
        self._filter.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self._items: dict[str, QStandardItem] = {}
        self._outline: ModelOutline | None = None
        self.tree = QTreeView()
        self.tree.setModel(self._filter)
        self.tree.setAccessibleName("Modules of the model")
        self.tree.setAlternatingRowColors(True)
        self.tree.setUniformRowHeights(True)
        self.tree.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.tree.setFont(theme.tabular(self.tree.font()))
        self.tree.header().setStretchLastSection(False)
        self.tree.selectionModel().currentChanged.connect(self._on_current_changed)
        self.tree.clicked.connect(self._on_current_changed)  # the current one too: it may have to be read again
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.GRID, theme.GRID, 0, theme.GRID)
        layout.setSpacing(theme.HALF_GRID)
        layout.addWidget(self.search)
        layout.addWidget(self.tree, 1)

    # ---- what others ask of it -------------------------------------------------------------------------------

    def show_outline(self, outline: ModelOutline | None, precisions: Sequence[str] = ()) -> None:
        """List its modules, with a column for each of these precisions; None lists nothing."""
        self._outline = outline
        self._items.clear()
        self._model.clear()
        self._model.setHorizontalHeaderLabels([*_FIRST, *precisions, _WHY])
        if outline is None:
            return
        inside: dict[str, list[ModuleOutline]] = {}
        for module in outline.modules:
            for branch in _branches(module.name):
                inside.setdefault(branch, []).append(module)
        for branch, modules in inside.items():  # parents come before what is in them
            above = self._items[branch.rpartition(".")[0]] if branch else self._model.invisibleRootItem()
            own = next((one for one in modules if one.name == branch), None)
            self._items[branch] = self._add(above, branch, modules, own, precisions)
        self.tree.expandAll()  # what is folded counts in no column's width
        for column in range(1, self._model.columnCount()):
            self.tree.resizeColumnToContents(column)
        self.tree.setColumnWidth(0, _NAME_WIDTH)
        for _ in ("Kind", "Shape"):  # behind the bytes, which are to be seen in a narrow tree
            self.tree.header().moveSection(1, self._model.columnCount() - 2)
        self._unfold()

    def show_waiting(self, sentence: str) -> None:
        """List nothing, and say what is on its way."""
        self.show_outline(None)
        item = QStandardItem(sentence)
        item.setFlags(Qt.ItemFlag.NoItemFlags)
        self._model.appendRow(item)
        self.tree.setFirstColumnSpanned(0, QModelIndex(), True)

    def select(self, module: str) -> None:
        """Choose that module, if it is there, and let it be seen."""
        item = self._items.get(module)
        if item is None:
            return
        index = self._filter.mapFromSource(item.index())
        if not index.isValid():
            self.search.clear()
            index = self._filter.mapFromSource(item.index())
        flags = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
        self.tree.selectionModel().setCurrentIndex(index, flags)
        self.tree.scrollTo(index, QAbstractItemView.ScrollHint.PositionAtCenter)

    def module(self, name: str) -> ModuleOutline | None:
        """What is known of it."""
        modules = () if self._outline is None else self._outline.modules
        return next((module for module in modules if module.name == name), None)

    # ---- the items -------------------------------------------------------------------------------------------

    def _add(
        self,
        above: QStandardItem,
        name: str,
        inside: Sequence[ModuleOutline],
        own: ModuleOutline | None,
        precisions: Sequence[str],
    ) -> QStandardItem:
        why = "" if own is None else _why(own)
        shape = "" if own is None else " × ".join(f"{size:,}" for size in own.shape)
        sizes = [bytes_text(sum(one.stored_bytes for one in inside))]
        for precision in precisions:
            known = [one.bytes[precision] for one in inside if precision in one.bytes]
            sizes.append(bytes_text(sum(known)) if len(known) == len(inside) else _UNKNOWN)
        title = name.rpartition(".")[2] or _WHOLE
        row = [QStandardItem(text) for text in (title, "" if own is None else own.kind, shape, *sizes, why)]
        tip = theme.tip(f"{name or _WHOLE}: {_summary(own, inside)}")
        for item in row:
            item.setToolTip(tip)
        for item in row[2 : 4 + len(precisions)]:
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row[0].setData(name, _MODULE)
        if own is not None and not own.is_matrix:
            slanted = self.tree.font()
            slanted.setItalic(True)
            for item in row:
                item.setFont(slanted)
        above.appendRow(row)
        return row[0]

    # ---- search and choice -----------------------------------------------------------------------------------

    def _unfold(self) -> None:
        """The first levels, down to the list of layers."""
        self.tree.collapseAll()
        self.tree.expandToDepth(1)

    @Slot(str)
    def _on_search(self, text: str) -> None:
        self._filter.setFilterFixedString(text)
        if text:
            self.tree.expandAll()
        else:
            self._unfold()
            self.tree.scrollTo(self.tree.currentIndex())

    @Slot(QModelIndex)
    def _on_current_changed(self, index: QModelIndex) -> None:
        if index.isValid():
            self.module_chosen.emit(str(index.siblingAtColumn(0).data(_MODULE) or ""))


def _branches(module: str) -> list[str]:
    """`a.b` → the whole, `a`, `a.b`."""
    parts = module.split(".")
    return ["", *(".".join(parts[: place + 1]) for place in range(len(parts)))]


def _why(module: ModuleOutline) -> str:
    """Why it is not quantized: once, where all precisions say the same."""
    reasons = set(module.kept.values())
    if len(reasons) <= 1:
        return next(iter(reasons), "")
    return "; ".join(f"{precision}: {reason}" for precision, reason in module.kept.items())


def _summary(own: ModuleOutline | None, inside: Sequence[ModuleOutline]) -> str:
    parameters = sum(one.parameters for one in inside)
    stored = bytes_text(sum(one.stored_bytes for one in inside))
    if own is None:
        return f"{len(inside):,} modules with {parameters:,} parameters, {stored} in the checkpoint"
    stored_as = f" as {own.stored_dtype}" if own.stored_dtype else ""
    why = _why(own)
    kept = f". Not quantized, because {why}" if why else ""
    looked_at = "" if own.is_matrix else ". It has no matrix of its own to look at"
    return f"{own.kind}, {parameters:,} parameters, {stored} in the checkpoint{stored_as}{kept}{looked_at}."
