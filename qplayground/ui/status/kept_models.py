"""Models kept in memory between runs: their sizes, and how to unload them."""

from functools import partial

from PySide6.QtCore import Slot

from qplayground.core.units import bytes_text
from qplayground.runtime.comparison.session import Session
from qplayground.ui.widgets.menu_button import MenuButton


class KeptModels(MenuButton):
    """A button shown while models are kept. Its menu lists them; clicking one ends its engine.

    Sizes are of the weights only. Library pages are shared among the engines and would count several times.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.setToolTip("Models kept in memory, and the bytes of their weights; click one to unload it")
        self.menu().aboutToShow.connect(self._fill)
        session.loaded_changed.connect(self._show)
        session.busy_changed.connect(self._show)
        self._show()

    @Slot()
    def _show(self) -> None:
        loaded = self._session.loaded
        known = [weights for weights in loaded.values() if weights is not None]
        total = sum(known) if len(known) == len(loaded) else None
        self.setText(f"{len(loaded)} in memory, {bytes_text(total)} of weights ▾")
        self.setAccessibleName(f"Models kept in memory: {', '.join(loaded)}")
        self.setVisible(bool(loaded) and not self._session.is_busy)

    @Slot()
    def _fill(self) -> None:
        menu, loaded = self.menu(), self._session.loaded
        menu.clear()
        for name, weights in loaded.items():
            action = menu.addAction(f"Unload {name}, {bytes_text(weights)}")
            action.triggered.connect(partial(self._session.unload, name))
        if len(loaded) > 1:
            menu.addSeparator()
            menu.addAction("Unload all").triggered.connect(self._unload_all)

    @Slot()
    def _unload_all(self) -> None:
        for name in self._session.loaded:
            self._session.unload(name)
