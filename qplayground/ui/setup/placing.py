"""Opens the placement dialog and hands its result to the device picker."""

import os
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QWidget

from qplayground.core.errors import PlaygroundError
from qplayground.core.messages.events import Hello
from qplayground.core.placement import Placement
from qplayground.runtime.clients.planner import Planner
from qplayground.runtime.comparison.request import check_devices
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.setup.choosers import Choosers

if TYPE_CHECKING:
    from qplayground.ui.setup.placement_dialog import PlacementDialog


class Placing(QObject):
    """Connects the device picker to the planner, the session and the preferences."""

    def __init__(
        self, session: Session, planner: Planner, preferences: Preferences, choosers: Choosers, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._planner = planner
        self._session = session
        self._preferences = preferences
        self._models, self._precisions = choosers.models, choosers.precisions
        self._window = parent
        self.dialog: PlacementDialog | None = None
        device = self._models.device
        device.set_saved(preferences.placements)
        device.set_placement(preferences.last_placement)
        device.edit_requested.connect(self.edit)
        session.machine_known.connect(self._on_machine_known)

    @Slot()
    def edit(self) -> None:
        """Show where the picked model's parts go, for the ticked precisions, or for all if none is ticked."""
        from qplayground.ui.setup.placement_dialog import PlacementDialog  # keeps the window's start short

        entry, machine = self._models.current(), self._session.machine
        self.dialog = PlacementDialog(
            self._planner,
            self._preferences,
            None if entry is None else entry.outline_path,
            self._precisions.selected() or self._precisions.usable(),
            self._models.device.placement,
            self._models.device.gpus,
            (machine.cpus if machine is not None else None) or os.cpu_count() or 1,
            self._window,
        )
        self.dialog.finished.connect(self._on_finished)
        self.dialog.open()

    @Slot(int)
    def _on_finished(self, accepted: int) -> None:
        dialog, self.dialog = self.dialog, None
        if dialog is None:
            return
        self._models.device.set_saved(self._preferences.placements)
        if accepted:
            self._models.device.set_placement(dialog.placement)
        dialog.deleteLater()

    @Slot(object)
    def _on_machine_known(self, hello: Hello) -> None:
        device = self._models.device
        device.set_usable(len(hello.machine.gpus), hello.machine.mps)
        try:
            check_devices(device.placement, hello.machine)
        except PlaygroundError:  # saved when the machine had more devices
            device.set_placement(Placement())
