"""Work that starts after the first paint: charts, model list, an engine, the demo model."""

import importlib

from PySide6.QtCore import QObject, QThread, Signal, Slot

from qplayground.catalog.demo import DEMO_ID
from qplayground.core.commentary.known_problems import undriven_gpu
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.machine.gpus import undriven_gpus
from qplayground.runtime.models.library import Library
from qplayground.ui.comparison.comparison_tabs import CHART_MODULES
from qplayground.ui.comparison.memory_view import MEMORY_MODULES


class _Importer(QThread):
    """Imports the charting library on a thread, because it takes half a second."""

    imported = Signal()

    def run(self) -> None:
        for module in (*MEMORY_MODULES, *CHART_MODULES):
            importlib.import_module(module)
        self.imported.emit()


class StartUp(QObject):
    """Starts background work, most urgent first.

    Signals: `charts_imported()`, so that the charts can be built; `charts_ready()`, after they are built;
    `problem_found(str)`, a problem of this machine that the user can fix.
    """

    charts_imported = Signal()
    charts_ready = Signal()
    problem_found = Signal(str)

    def __init__(self, session: Session, library: Library, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._library = library
        self._importer = _Importer(self)
        self._importer.imported.connect(self.charts_imported)
        self._importer.imported.connect(self.charts_ready)  # connected later, so emitted after charts_imported
        self._closed = False

    def begin(self) -> None:
        """Start everything. Call it once the window is shown."""
        if self._closed:
            return
        self._library.refresh()
        self.load_charts()
        self._session.probe()
        undriven = undriven_gpu(undriven_gpus())
        if undriven is not None:
            self.problem_found.emit(f"{undriven.message} {undriven.hint}")
        self._library.entries_changed.connect(self._prepare_demo_once)

    def load_charts(self) -> None:
        """Import the charting library in the background. `charts_ready` follows once."""
        self._importer.start()

    def close(self) -> None:
        """Wait for the import to end. Call it when the program ends."""
        self._closed = True
        self._importer.wait()

    @Slot()
    def _prepare_demo_once(self) -> None:
        self._library.entries_changed.disconnect(self._prepare_demo_once)
        demo = next((entry for entry in self._library.entries if entry.id == DEMO_ID), None)
        if demo is not None and not demo.complete and demo.problem is None:
            self._library.prepare_demo()
