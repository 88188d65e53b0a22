"""The device picker beside the model: this machine's devices and the saved placements."""

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QSignalBlocker, Signal, Slot
from PySide6.QtWidgets import QComboBox

from qplayground.core.placement import AUTO, BALANCED, CPU, CUSTOM, MPS, Placement
from qplayground.core.units import bytes_text
from qplayground.runtime.machine.gpus import Gpu

_EDIT = "Placement…"
_TIP = (
    "Auto fills NVIDIA's GPUs first, then RAM, then the disk. Without such a GPU all goes to RAM, unless you set a "
    "limit. Choose Placement… to see where each layer goes, to set limits, the disk and threads, and to place layers "
    "by hand"
)


class DeviceBox(QComboBox):
    """Offers only existing devices. Signals: `placement_changed()`; `edit_requested()` for Placement…."""

    placement_changed = Signal()
    edit_requested = Signal()

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        super().__init__(minimumContentsLength=8, sizeAdjustPolicy=QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.gpus = tuple(gpus)
        """The NVIDIA GPUs offered: those known to the driver, later only those that torch can use."""
        self._has_mps = False
        self._saved: dict[str, Placement] = {}
        self._placement = Placement()
        self.setAccessibleName("Device")
        self.setToolTip(_TIP)
        self._offer()
        self.currentIndexChanged.connect(self._on_index_changed)

    @property
    def placement(self) -> Placement:
        """The chosen placement."""
        return self._placement

    @property
    def placement_name(self) -> str:
        """The name it is saved under; empty if it is not saved."""
        return next((name for name, saved in self._saved.items() if saved == self._placement), "")

    def set_placement(self, placement: Placement) -> None:
        """Choose a placement. One that is not in the list is added while it is chosen."""
        changed = placement != self._placement
        self._placement = placement
        self._offer()
        if changed:
            self.placement_changed.emit()

    def set_saved(self, saved: Mapping[str, Placement]) -> None:
        """Set the saved placements to offer, by name."""
        self._saved = dict(saved)
        self._offer()

    def set_usable(self, gpu_count: int, mps: bool) -> None:
        """Offer only what torch can use, as an engine reported: the driver may know more GPUs. `mps`: an Apple GPU."""
        self.gpus = self.gpus[:gpu_count]
        self._has_mps = mps
        self._offer()

    def _offer(self) -> None:
        items = [("Auto", Placement(device=AUTO))]
        if len(self.gpus) > 1:
            items.append(("Balanced", Placement(device=BALANCED)))
        items += [
            (f"{self._named(gpu)} · {bytes_text(gpu.free_bytes)} free", Placement(device=f"cuda:{gpu.index}"))
            for gpu in self.gpus
        ]
        if self._has_mps:
            items.append(("Apple GPU", Placement(device=MPS)))
        items += [("CPU", Placement(device=CPU)), *self._saved.items()]
        if self._placement not in [placement for _, placement in items]:
            items.append((described(self._placement), self._placement))
        with QSignalBlocker(self):
            self.clear()
            for label, placement in items:
                self.addItem(label, placement)
            self.insertSeparator(self.count())
            self.addItem(_EDIT, None)
            self._show_chosen()

    def _named(self, gpu: Gpu) -> str:
        """The GPU's name, with its index if another GPU has the same name."""
        twins = sum(each.name == gpu.name for each in self.gpus)
        return f"{gpu.name} ({gpu.index})" if twins > 1 else gpu.name

    def _show_chosen(self) -> None:
        self.setCurrentIndex(next(row for row in range(self.count()) if self.itemData(row) == self._placement))

    @Slot(int)
    def _on_index_changed(self, _index: int) -> None:
        chosen = self.currentData()
        if isinstance(chosen, Placement):
            self.set_placement(chosen)
            return
        with QSignalBlocker(self):
            self._show_chosen()
        self.edit_requested.emit()


def described(placement: Placement) -> str:
    """A placement in a few words: `Auto, limits, 1 thread`."""
    names = {AUTO: "Auto", BALANCED: "Balanced", CUSTOM: "By hand", CPU: "CPU", MPS: "Apple GPU"}
    parts = [names.get(placement.device, placement.device)]
    parts += [f"{device} ≤ {bytes_text(limit)}" for device, limit in placement.max_memory.items()]
    if placement.threads is not None:
        parts.append(f"{placement.threads} thread{'s' * (placement.threads != 1)}")
    return ", ".join(parts)
