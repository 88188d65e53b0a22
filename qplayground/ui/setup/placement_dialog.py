"""Shows where each part of a model goes before loading. Placed by accelerate or by hand.

Longer than most modules, because each control changes the one plan that all others show.
"""

from collections.abc import Sequence

from PySide6.QtCore import QSignalBlocker, QSize, Qt, QTimer, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from qplayground.core.errors import ErrorInfo
from qplayground.core.messages.events import PlacementPlanned
from qplayground.core.placement import (
    AUTO,
    BALANCED,
    CPU,
    CUSTOM,
    DISK,
    Placement,
    PlacementPlan,
    device_of,
    devices_in_order,
    stays_unquantized,
)
from qplayground.core.precision import Precision
from qplayground.core.units import bytes_text
from qplayground.runtime.clients.planner import Planner
from qplayground.runtime.machine.devices import free_memory, free_on_disk
from qplayground.runtime.machine.gpus import Gpu
from qplayground.runtime.storage.offload_folders import offload_folder
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.setup.device_column import DeviceColumn
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import button, caption, choice, in_row

_SIZE = QSize(1000, 600)
_SOON_MS = 150
_REFRESH_MS = 2000
_MODES = {"automatically": AUTO, "evenly on the GPUs": BALANCED, "by hand": CUSTOM}


class PlacementDialog(QDialog):
    """Queries the planner after each change and shows the plan. `placement` is the result."""

    def __init__(
        self,
        planner: Planner,
        preferences: Preferences,
        path: str | None,
        precisions: Sequence[Precision],
        placement: Placement,
        gpus: Sequence[Gpu],
        cpus: int,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Placement")
        self._planner = planner
        self._preferences = preferences
        self._path = path
        self._precisions = tuple(precisions)
        self._gpus = tuple(gpus)
        self._modules = dict(placement.modules)
        self._plans: dict[str, PlacementPlan] = {}
        self.columns: dict[str, DeviceColumn] = {}
        self._soon = QTimer(self, singleShot=True, interval=_SOON_MS)
        self._soon.timeout.connect(self._ask)
        self._build(placement, cpus)
        planner.planned.connect(self._on_planned)
        planner.plan_failed.connect(self._on_failed)
        self._show(placement)
        self._ask()

    # ---- build -----------------------------------------------------------------------------------------------

    def _build(self, placement: Placement, cpus: int) -> None:
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.GRID)
        layout.addLayout(self._build_choice())
        titles = {f"cuda:{gpu.index}": f"cuda:{gpu.index} {gpu.name}" for gpu in self._gpus} | {
            CPU: "RAM",
            DISK: "disk",
        }
        saved = [*self._preferences.placements.values(), placement]
        named = {each.device for each in saved if each.is_single}
        for each in saved:
            named |= set(each.modules.values())
        for device in devices_in_order({*titles, *named}):
            column = DeviceColumn(device, titles.get(device, device))
            column.limit_changed.connect(self._soon.start)
            column.selection_changed.connect(self._show_movable)
            column.move_here_requested.connect(self._on_move)
            self.columns[device] = column
        layout.addLayout(in_row(*self.columns.values()), 1)
        self.message = QLabel(textFormat=Qt.TextFormat.PlainText, wordWrap=True)
        self.message.setAccessibleName("Notes on the placement")
        layout.addWidget(self.message)
        layout.addLayout(self._build_options(placement, cpus))
        layout.addLayout(self._build_end())
        self._show_free()
        self.resize(_SIZE)
        refresh = QTimer(self, interval=_REFRESH_MS)
        refresh.timeout.connect(self._show_free)
        refresh.start()

    def _build_choice(self) -> QHBoxLayout:
        modes = [item for item in _MODES.items() if item[1] != BALANCED or len(self._gpus) > 1]
        self.mode = choice("How it is placed", modes)
        self.mode.currentIndexChanged.connect(self._on_mode_changed)
        self.shown = choice("Precision that is shown", [(each.label, each.name) for each in self._precisions])
        self.shown.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.shown.currentIndexChanged.connect(self._show_plan)
        return in_row(caption("&Placed", self.mode), self.mode, caption("S&hown for", self.shown), self.shown, None)

    def _build_options(self, placement: Placement, cpus: int) -> QHBoxLayout:
        self.folder = QLineEdit(placement.offload_folder)
        self.folder.setPlaceholderText("the cache folder")
        self.folder.setAccessibleName("Offload folder")
        self.folder.setToolTip(
            "Weights on disk are read from the checkpoint itself. Those made of several tensors, such as a "
            "mixture's experts, are written here"
        )
        self.folder.editingFinished.connect(self._show_free)
        self.threads = QSpinBox(maximum=max(cpus, placement.threads or 0))
        self.threads.setSpecialValueText("all")
        self.threads.setValue(placement.threads or 0)
        self.threads.setAccessibleName("Threads of the processor")
        self.threads.setToolTip(f"How many the processor computes with, {self.threads.maximum()} at most")
        return in_row(
            caption("&Offload folder", self.folder),
            self.folder,
            button("&Browse…", self._on_browse),
            caption("&Threads", self.threads),
            self.threads,
            grows=self.folder,
        )

    def _build_end(self) -> QHBoxLayout:
        self.name = QComboBox(editable=True, minimumContentsLength=20)
        self.name.setAccessibleName("Name to save it under")
        self.name.addItems(list(self._preferences.placements))
        self.name.setCurrentText("")
        edit = self.name.lineEdit()
        if edit is not None:
            edit.setPlaceholderText("name")
        self.name.editTextChanged.connect(self._show_savable)
        self.name.activated.connect(self._on_saved_chosen)
        tip = "Save it under this name; it is then offered beside the devices"
        self.save = button("&Save", self._on_save, tip)
        self.delete = button("&Delete", self._on_delete)
        buttons = QDialogButtonBox()
        self.use = QPushButton("&Use", default=True)
        buttons.addButton(self.use, QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self._show_savable()
        return in_row(caption("Sa&ve as", self.name), self.name, self.save, self.delete, None, buttons)

    # ---- requested placement ---------------------------------------------------------------------------------

    @property
    def placement(self) -> Placement:
        """The requested placement."""
        device = str(self.mode.currentData())
        if device == CUSTOM and len(places := set(self._modules.values())) == 1 and DISK not in places:
            device = places.pop()
        limits = {name: column.limit_bytes for name, column in self.columns.items()}
        return Placement(
            device=device,
            modules=dict(self._modules) if device == CUSTOM else {},
            max_memory={name: limit for name, limit in limits.items() if limit is not None}
            if device in (AUTO, BALANCED)
            else {},
            offload_folder=self.folder.text().strip(),
            threads=self.threads.value() or None,
        )

    def _show(self, placement: Placement) -> None:
        """Show a placement. A single device is shown as placed by hand, with all modules on it."""
        if placement.is_single:
            self._modules = {"": placement.device}
        with QSignalBlocker(self.mode):
            self.mode.setCurrentIndex(max(0, self.mode.findData(CUSTOM if placement.is_single else placement.device)))
        for name, column in self.columns.items():
            column.set_limit(placement.max_memory.get(name))
            column.show_limit(self.mode.currentData() != CUSTOM)

    @Slot()
    def _ask(self) -> None:
        if self._path is None:
            self._say("Pick a model, and where its parts go is shown here.", warns=False)
            return
        if not self._plans:
            self._say("An engine is working out where each part goes…", warns=False)
        self._planner.ask_plan(self._path, self._precisions, self.placement)

    # ---- planner's answer ------------------------------------------------------------------------------------

    @Slot(object)
    def _on_planned(self, event: PlacementPlanned) -> None:
        self._plans = {plan.precision: plan for plan in event.plans}
        for row in range(self.shown.count()):
            plan = self._plans.get(str(self.shown.itemData(row)))
            refused = plan is not None and plan.problem is not None
            self.shown.setItemText(row, f"{self._precisions[row].label}{' · refused' if refused else ''}")
        self._show_plan()

    @Slot(object)
    def _on_failed(self, error: ErrorInfo) -> None:
        self._say(str(error), warns=True)

    @Slot()
    def _show_plan(self) -> None:
        plan = self._plan
        if plan is None:
            return
        plain = {device: plan.quantized and stays_unquantized(device, plan.devices) for device in plan.devices}
        placed = list(zip(plan.blocks, plan.devices, strict=True))
        largest = max((block.plain_bytes if plain[place] else block.num_bytes for block, place in placed), default=0)
        for device, column in self.columns.items():
            here = [block for block, place in placed if place == device]
            column.show_parts(
                here,
                largest,
                plain=plain.get(device, False),
                limited=self.mode.currentData() != CUSTOM,
                rewritten_bytes=plan.rewritten_bytes if device == DISK else 0,
            )
        self._show_movable()
        self._say_plan(plan)

    def _say_plan(self, plan: PlacementPlan) -> None:
        said = plan.caution if plan.problem is None else str(plan.problem)
        if self.columns[DISK].is_overfull:
            said = (
                f"{bytes_text(plan.rewritten_bytes)} of the weights must be written into the offload folder, and its "
                f"disk has less free. Choose another folder, or put parts elsewhere. {said}"
            ).strip()
        refused = [each for each in self._plans.values() if each.problem is not None and each is not plan]
        if refused:
            labels = {precision.name: precision.label for precision in self._precisions}
            names = ", ".join(labels[each.precision] for each in refused)
            said = f"{said} Refused so: {names}; choose it above for the reason.".strip()
        self._say(said, warns=bool(said))

    @Slot()
    def _show_free(self) -> None:
        """Update the free memory of the devices and of the offload folder's disk. The plan is kept."""
        disk = self.columns[DISK]
        was_overfull = disk.is_overfull
        free = {**free_memory(), DISK: free_on_disk(offload_folder(self.placement))}
        for device, column in self.columns.items():
            column.set_free(free.get(device))
        if self._plan is not None and disk.is_overfull != was_overfull:
            self._say_plan(self._plan)

    @property
    def _plan(self) -> PlacementPlan | None:
        return self._plans.get(str(self.shown.currentData()))

    def _say(self, sentence: str, *, warns: bool) -> None:
        self.message.setText(sentence)
        role = QPalette.ColorRole.BrightText if warns else QPalette.ColorRole.PlaceholderText
        self.message.setForegroundRole(role)

    @Slot()
    def _show_movable(self) -> None:
        chosen = {device for device, column in self.columns.items() if column.selected()}
        for device, column in self.columns.items():
            column.move_here.setEnabled(bool(chosen - {device}))

    # ---- user input ------------------------------------------------------------------------------------------

    @Slot()
    def _on_mode_changed(self) -> None:
        if self.mode.currentData() == CUSTOM and not self._modules:
            self._modules = self._shown_map()
        for column in self.columns.values():
            column.show_limit(self.mode.currentData() != CUSTOM)
        self._ask()

    @Slot(str)
    def _on_move(self, device: str) -> None:
        """Move the parts selected in the other columns, and the parts tied to them."""
        plan = self._plan
        if plan is None:
            return
        chosen = {name for column in self.columns.values() for name in column.selected()}
        chosen |= {block.tied for block in plan.blocks if block.tied and block.name in chosen}
        chosen |= {block.name for block in plan.blocks if block.tied in chosen}
        before = self._shown_map()
        if self.mode.currentData() == CUSTOM:  # an earlier move may still be unanswered
            before = {name: device_of(name, self._modules) or place for name, place in before.items()}
        self._modules = {**before, **dict.fromkeys(chosen, device)}
        with QSignalBlocker(self.mode):
            self.mode.setCurrentIndex(self.mode.findData(CUSTOM))
        for column in self.columns.values():
            column.parts.clearSelection()
            column.show_limit(False)
        self._ask()

    def _shown_map(self) -> dict[str, str]:
        plan = self._plan
        if plan is None or not plan.blocks:
            return {"": CPU}
        return dict(zip((block.name for block in plan.blocks), plan.devices, strict=True))

    @Slot()
    def _on_browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Offload folder", self.folder.text())
        if folder:
            self.folder.setText(folder)
            self._show_free()

    @Slot()
    def _show_savable(self) -> None:
        name = self.name.currentText().strip()
        self.save.setEnabled(bool(name))
        self.delete.setEnabled(name in self._preferences.placements)

    @Slot()
    def _on_save(self) -> None:
        name = self.name.currentText().strip()
        self._preferences.save_placement(name, self.placement)
        self._offer_saved(name)

    @Slot()
    def _on_saved_chosen(self) -> None:
        saved = self._preferences.placements.get(self.name.currentText())
        if saved is not None:
            self._modules = dict(saved.modules)
            self.folder.setText(saved.offload_folder)
            self.threads.setValue(saved.threads or 0)
            self._show(saved)
            self._ask()

    @Slot()
    def _on_delete(self) -> None:
        name = self.name.currentText().strip()
        self._preferences.remove_placement(name)
        self._offer_saved(name)  # the shown placement stays and can be saved again

    def _offer_saved(self, name: str) -> None:
        self.name.clear()
        self.name.addItems(list(self._preferences.placements))
        self.name.setCurrentText(name)
        self._show_savable()
