"""The memory of each module of a loaded model, as a tree with a sum at every branch."""

from collections.abc import Mapping

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from qplayground.core.comparison.results import Run
from qplayground.core.memory.estimate import WeightKinds
from qplayground.core.placement import CPU, device_of, devices_in_order
from qplayground.core.units import bytes_text
from qplayground.ui.widgets import theme

_SIZE = QSize(760, 560)
_COLUMNS = ("Module", "Quantized", "Scales", "Left alone", "Buffers", "Total", "Device")
_DEVICE = len(_COLUMNS) - 1
_WHOLE = "whole model"


class ModulesDialog(QDialog):
    """The tensors of a run's model by module and kind. Modules that differ from the prediction are marked.

    If the model was on several devices, they are shown too.
    """

    def __init__(self, run: Run, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(f"What each module of {run.id} holds")
        self._unforeseen = frozenset(run.memory.unforeseen)
        self.search = QLineEdit(placeholderText="Search by name", clearButtonEnabled=True)
        self.search.textChanged.connect(self._on_search)
        self.tree = QTreeWidget()
        self.tree.setUniformRowHeights(True)
        self.tree.setAccessibleName(self.windowTitle())
        self.tree.setHeaderLabels(_COLUMNS)
        self.tree.setAlternatingRowColors(True)
        self.tree.setFont(theme.tabular(self.tree.font()))
        self.tree.header().setStretchLastSection(False)
        self.tree.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.tree.setColumnHidden(_DEVICE, len(set(run.device_map.values())) < 2)
        self._items: dict[str, QTreeWidgetItem] = {}
        self._fill(run.memory.by_module, run.device_map)
        note = QLabel(self._verdict(), textFormat=Qt.TextFormat.PlainText, wordWrap=True)
        role = QPalette.ColorRole.BrightText if self._unforeseen else QPalette.ColorRole.PlaceholderText
        note.setForegroundRole(role)
        layout = QVBoxLayout(self)
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.rejected.connect(self.reject)
        for widget in (self.search, self.tree, note, close):
            layout.addWidget(widget)
        self.resize(_SIZE)

    def _verdict(self) -> str:
        if not self._unforeseen:
            return "Every module holds to the byte what was predicted. A tied weight is counted where it comes first."
        return f"{len(self._unforeseen)} modules hold something else than was predicted; they are marked with *."

    def _fill(self, modules: dict[str, WeightKinds], device_map: Mapping[str, str]) -> None:
        sums: dict[str, WeightKinds] = {}
        devices: dict[str, set[str]] = {}
        for module, kinds in modules.items():
            for branch in _branches(module):
                sums[branch] = sums.get(branch, WeightKinds()) + kinds
                devices.setdefault(branch, set()).update(filter(None, [device_of(module, device_map)]))
        for branch, kinds in sums.items():
            above = self._items[branch.rpartition(".")[0]] if branch else self.tree.invisibleRootItem()
            mark = "*" * (branch in self._unforeseen)
            amounts = (kinds.quantized, kinds.scales, kinds.plain, kinds.buffers, kinds.total)
            label = f"{branch.rpartition('.')[2] or _WHOLE}{mark}"
            places = ", ".join("RAM" if each == CPU else each for each in devices_in_order(devices[branch]))
            item = QTreeWidgetItem(above, [label, *(bytes_text(each) if each else "–" for each in amounts), places])
            item.setToolTip(0, theme.literal(branch))
            for column in range(1, len(_COLUMNS)):
                item.setTextAlignment(column, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self._items[branch] = item
        self._unfold()

    def _unfold(self) -> None:
        """Expand the first levels, down to the list of layers."""
        self.tree.collapseAll()
        self.tree.expandToDepth(1)

    @Slot(str)
    def _on_search(self, text: str) -> None:
        """Show the modules whose names contain `text`, and their parents."""
        found = {branch for branch in self._items if text.lower() in branch.lower()}
        shown = {above for branch in found for above in _branches(branch)} if text else self._items.keys()
        for branch, item in self._items.items():
            item.setHidden(branch not in shown)
        if text:
            self.tree.expandAll()
        else:
            self._unfold()


def _branches(module: str) -> list[str]:
    """`a.b` → the whole, `a`, `a.b`."""
    parts = module.split(".") if module else []
    return ["", *(".".join(parts[: place + 1]) for place in range(len(parts)))]
