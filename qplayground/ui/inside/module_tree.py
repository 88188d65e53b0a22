"""The model's modules as a tree: their kind, their size in each precision, and which stay unquantized."""

from collections.abc import Collection, Sequence

from PySide6.QtCore import (
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QFont, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLineEdit,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeView,
    QWidget,
)

from qplayground.core.inside import Kept, ModelOutline, ModuleOutline
from qplayground.core.units import bytes_text
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import in_column, selectable_label

_FIRST = ("Module", "Kind", "Shape", "Now")
_BESIDE = ("int8", "nf4")
"""The precisions visible without scrolling, if they are among those compared."""
_WHETHER = "Quantized"
_SHORT = {
    Kept.TIED: "no, tied",
    Kept.OUTPUT_HEAD: "no, head",
    Kept.SKIPPED: "no, skipped",
    Kept.NOT_LINEAR: "not linear",
    Kept.UNKNOWN_CLASS: "no, class",
    Kept.UNFIT: "no, shape",
}
"""The reasons as shown in the column. The tool tip and the details below the tree give them in full."""
_ALREADY = "already"
_NAME_WIDTH, _KIND_WIDTH = 138, 62
_DETAIL_LINES = 5
_INDENT = 10
_WHOLE = "whole model"
_UNKNOWN = "unknown"
_MODULE = Qt.ItemDataRole.UserRole + 1


class _Kinds(QStyledItemDelegate):
    """Elides class names at their start: the end tells kinds apart, the start names the model."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideLeft


class ModuleTree(QWidget):
    """A search field, the tree, and details of the current row.

    Signal: `module_chosen(str)`, the module's full name, also for one that only contains others; empty for the whole
    model.
    """

    module_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.search = QLineEdit(placeholderText="Search by name", clearButtonEnabled=True)
        self.search.setAccessibleName("Search a module by name")
        self.search.textChanged.connect(self._on_search)
        self._model = QStandardItemModel(self)
        self._filter = QSortFilterProxyModel(
            self,
            recursiveFilteringEnabled=True,
            filterRole=_MODULE,
            filterCaseSensitivity=Qt.CaseSensitivity.CaseInsensitive,
        )
        self._filter.setSourceModel(self._model)
        self._items: dict[str, QStandardItem] = {}
        self._outline = ModelOutline(modules=())
        self._whether_column = len(_FIRST)
        self._precisions: tuple[str, ...] = ()
        self._quantizing: set[str] = set()  # those that quantize any module
        self.tree = QTreeView(uniformRowHeights=True, indentation=_INDENT)
        self.tree.setModel(self._filter)
        self.tree.setAccessibleName("Modules of the model")
        self.tree.setAlternatingRowColors(True)
        self.tree.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.tree.setFont(theme.tabular(theme.small(self.tree.font())))
        self.tree.setItemDelegateForColumn(1, _Kinds(self))
        self.tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.tree.header().setStretchLastSection(False)
        self.tree.header().setMinimumSectionSize(theme.GRID)
        self.tree.header().setFont(self.tree.font())
        self.tree.selectionModel().currentChanged.connect(self._on_current_changed)
        self.tree.clicked.connect(self._on_current_changed)  # also the current row, to read it again
        self.details = selectable_label("About the chosen module")
        self.details.setFont(theme.tabular(theme.small(self.details.font())))
        self.details.setMinimumWidth(1)
        self.details.setAlignment(Qt.AlignmentFlag.AlignTop)
        theme.follow_text(
            self.details,
            lambda: self.details.setFixedHeight(_DETAIL_LINES * self.details.fontMetrics().lineSpacing()),
        )
        margins = (theme.GRID, theme.GRID, 0, theme.GRID)
        in_column(
            self.search, self.tree, self.details, within=self, grows=self.tree, spacing=theme.HALF_GRID, margins=margins
        )

    # ---- public methods --------------------------------------------------------------------------------------

    def show_outline(self, outline: ModelOutline | None, precisions: Sequence[str] = ()) -> None:
        """List the model's modules, with a column for each of these precisions. None clears the tree."""
        self._outline = outline or ModelOutline(modules=())
        self._items.clear()
        self._model.clear()
        self.details.clear()
        beside = [name for name in _BESIDE if name in precisions]
        others = [name for name in precisions if name not in beside]
        self._precisions = (*beside, *others)
        self._whether_column = len(_FIRST) + len(beside)
        self._model.setHorizontalHeaderLabels([*_FIRST, *beside, _WHETHER, *others])
        if outline is None:
            return
        self._quantizing = {name for module in outline.modules for name in module.kept}
        inside: dict[str, list[ModuleOutline]] = {}
        for module in outline.modules:
            for branch in _branches(module.name):
                inside.setdefault(branch, []).append(module)
        for branch, modules in inside.items():  # parents come before their children
            above = self._items[branch.rpartition(".")[0]] if branch else self._model.invisibleRootItem()
            own = next((one for one in modules if one.name == branch), None)
            self._items[branch] = self._add(above, branch, modules, own)
        self._size_columns()
        self._unfold()

    def _size_columns(self) -> None:
        self.tree.expandAll()  # collapsed rows do not count for column widths
        for column in range(2, self._model.columnCount()):
            self.tree.resizeColumnToContents(column)
        self.tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        self.tree.setColumnWidth(0, _NAME_WIDTH)
        self.tree.setColumnWidth(1, _KIND_WIDTH)

    def show_waiting(self, sentence: str) -> None:
        """Clear the tree and show what is being loaded."""
        self.show_outline(None)
        item = QStandardItem(sentence)
        item.setFlags(Qt.ItemFlag.NoItemFlags)
        self._model.appendRow(item)
        self.tree.setFirstColumnSpanned(0, QModelIndex(), True)

    def select(self, module: str) -> None:
        """Select a module, if it exists, and scroll to it."""
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
        """The outline of a module, or None."""
        return next((module for module in self._outline.modules if module.name == name), None)

    # ---- items -----------------------------------------------------------------------------------------------

    def _add(
        self, above: QStandardItem, name: str, inside: Sequence[ModuleOutline], own: ModuleOutline | None
    ) -> QStandardItem:
        title = name.rpartition(".")[2] or _WHOLE
        sizes = self._sizes(inside)
        texts = [title, "" if own is None else own.kind, "" if own is None else _shape(own), *sizes]
        texts.insert(self._whether_column, "" if own is None else self._whether(own))
        row = [QStandardItem(text) for text in texts]
        tip = theme.tip(self._about(name, inside, own).replace("\n", " · "))
        for place, item in enumerate(row):
            item.setToolTip(tip)
            if place >= 2 and place != self._whether_column:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row[0].setData(name, _MODULE)
        if own is not None and not own.is_matrix:
            slanted = QFont()  # other font properties are inherited from the tree
            slanted.setItalic(True)
            for item in row:
                item.setFont(slanted)
        above.appendRow(row)
        return row[0]

    def _sizes(self, inside: Sequence[ModuleOutline]) -> list[str]:
        """The total size of these modules in the checkpoint and in each precision."""
        sizes = [bytes_text(sum(one.stored_bytes for one in inside))]
        for precision in self._precisions:
            known = [one.bytes[precision] for one in inside if precision in one.bytes]
            sizes.append(bytes_text(sum(known)) if len(known) == len(inside) else _UNKNOWN)
        return sizes

    def _whether(self, module: ModuleOutline) -> str:
        """Whether the module gets quantized, in a word."""
        if module.is_quantized:
            return _ALREADY
        if not self._quantizing:
            return ""
        if not module.kept:
            return "yes"
        reasons = set(module.kept.values())
        return _SHORT[reasons.pop()] if len(reasons) == 1 and set(module.kept) == self._quantizing else "in some"

    def _about(self, name: str, inside: Sequence[ModuleOutline], own: ModuleOutline | None) -> str:
        """All details of a row, in a few lines."""
        now, *sizes = self._sizes(inside)
        parameters = sum(one.parameters for one in inside)
        if own is None:
            first = f"{len(inside):,} modules, {parameters:,} parameters, {now} in the checkpoint"
        else:
            shape = f" {_shape(own)}" if own.shape else ""
            stored_as = f" as {own.stored_dtype}" if own.stored_dtype else ""
            first = f"{own.kind}{shape}, {parameters:,} parameters, {now} in the checkpoint{stored_as}"
        lines = [f"{name or _WHOLE}: {first}"]
        if sizes:
            lines.append(" · ".join(f"{each} {size}" for each, size in zip(self._precisions, sizes, strict=True)))
        if own is not None and own.is_quantized:
            lines.append(f"Quantized before it was saved ({self._outline.quantized_by}).")
        elif own is not None and self._quantizing:
            lines.append(_why(own, self._quantizing))
        return "\n".join(lines)

    # ---- search and selection --------------------------------------------------------------------------------

    def _unfold(self) -> None:
        """Expand the first levels, down to the list of layers."""
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
        name = index.siblingAtColumn(0).data(_MODULE)
        if index.isValid() and name is not None:
            self._show_details(str(name))
            self.module_chosen.emit(str(name))

    def _show_details(self, name: str) -> None:
        inside = [one for one in self._outline.modules if name in _branches(one.name)]
        text = self._about(name, inside, self.module(name))
        self.details.setText(text)
        self.details.setToolTip(theme.tip(text.replace("\n", " · ")))


def _branches(module: str) -> list[str]:
    """`a.b` → the whole, `a`, `a.b`."""
    parts = module.split(".")
    return ["", *(".".join(parts[: place + 1]) for place in range(len(parts)))]


def _shape(module: ModuleOutline) -> str:
    return "×".join(f"{size:,}" for size in module.shape)


def _why(module: ModuleOutline, quantizing: Collection[str]) -> str:
    """Whether the module gets quantized, or why not. A reason shared by all precisions is given once."""
    if not module.kept:
        return "Quantized."
    if len(set(module.kept.values())) == 1 and set(module.kept) == set(quantizing):
        return f"Not quantized, because {next(iter(module.kept.values()))}."
    reasons = "; ".join(f"{precision}: {reason}" for precision, reason in module.kept.items())
    return f"Quantized, but not in {reasons}."
