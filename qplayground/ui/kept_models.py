"""Which models are kept in memory between runs, what they take, and how to let go of them."""

from functools import partial

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

from qplayground.core.memory import MemorySample
from qplayground.core.units import bytes_text
from qplayground.runtime.session import Session


class KeptModels(QToolButton):
    """A button that is there while models are kept; its menu lists them, and ends the engine of the one clicked."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._resident: dict[str, int] = {}
        self.setAutoRaise(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setMenu(QMenu(self))
        self.menu().aboutToShow.connect(self._fill)
        session.loaded_changed.connect(self._show)
        session.busy_changed.connect(lambda: self._show(session.loaded))
        session.memory_sampled.connect(self._on_memory_sampled)
        self._show(session.loaded)

    @Slot(object)
    def _show(self, names: tuple[str, ...]) -> None:
        there = bool(names) and not self._session.is_busy
        taken = sum(self._resident.get(name, 0) for name in names)
        self.setText(f"{len(names)} in memory, {bytes_text(taken)}")
        self.setToolTip("Models that are kept loaded, with the RAM of their engines; click to let go of one")
        self.setAccessibleName(f"Models kept in memory: {', '.join(names)}")
        self.setVisible(there)

    @Slot(str, object)
    def _on_memory_sampled(self, name: str, samples: list[MemorySample]) -> None:
        self._resident[name] = samples[-1].memory.resident_bytes
        if self.isVisible():
            self._show(self._session.loaded)

    @Slot()
    def _fill(self) -> None:
        menu = self.menu()
        menu.clear()
        names = self._session.loaded
        for name in names:
            action = menu.addAction(f"Unload {name}, {bytes_text(self._resident.get(name))}")
            action.triggered.connect(partial(self._session.let_go, name))
        if len(names) > 1:
            menu.addSeparator()
            menu.addAction("Unload all").triggered.connect(self._unload_all)

    @Slot()
    def _unload_all(self) -> None:
        for name in self._session.loaded:
            self._session.let_go(name)
