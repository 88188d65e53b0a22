"""Opens the Inside window. There is at most one."""

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot

from qplayground.core.comparison.results import ComparedModel
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.setup.model_bar import ModelBar
from qplayground.ui.setup.precision_panel import PrecisionPanel
from qplayground.ui.setup.prompt_box import PromptBox

if TYPE_CHECKING:
    from qplayground.ui.inside.window import InsideWindow


class Opening(QObject):
    """Owns the window while it is open. Its module is imported only then, because it imports the charts."""

    def __init__(self, launcher: Launcher, preferences: Preferences) -> None:
        super().__init__()
        self._launcher = launcher
        self._preferences = preferences
        self._parts: tuple[Session, PrecisionPanel, PromptBox] | None = None
        self.window: InsideWindow | None = None

    def connect_to(self, session: Session, models: ModelBar, precisions: PrecisionPanel, prompt: PromptBox) -> None:
        """Open the window from the model bar's button, with the current precisions and prompt."""
        self._parts = (session, precisions, prompt)
        models.inside_requested.connect(lambda: self._open_current(models))
        prompt.changed.connect(self._on_prompt_changed)
        session.busy_changed.connect(self._on_busy_changed)

    def open(self, title: str, path: str, module: str = "") -> None:
        """Show this model in the Inside window. If it is shown already, bring the window to the front."""
        if self._parts is None:
            return
        from qplayground.ui.inside.window import InsideWindow, Subject

        session, precisions, prompt = self._parts
        if self.window is None:
            self.window = InsideWindow(self._launcher, self._preferences)
            self.window.closed.connect(self._on_closed)
            self.window.set_paused(session.is_busy)
        self.window.show_model(Subject(title, path, precisions.usable(), prompt.request()), module)
        self.window.show()
        self.window.raise_()
        self.window.activateWindow()

    @Slot(object, str)
    def open_layer(self, model: ComparedModel, module: str) -> None:
        """Show a layer of a compared model. The model's folder must still exist."""
        self.open(model.title, model.path, module)

    def _open_current(self, models: ModelBar) -> None:
        entry = models.current()
        if entry is not None and entry.inside_path is not None:
            self.open(entry.title, entry.inside_path)

    def close(self) -> None:
        """Close the window and its engines."""
        if self.window is not None:
            self.window.close()

    @Slot()
    def _on_prompt_changed(self) -> None:
        if self.window is not None and self._parts is not None:
            self.window.show_request(self._parts[2].request())

    @Slot(bool)
    def _on_busy_changed(self, busy: bool) -> None:
        if self.window is not None:
            self.window.set_paused(busy)

    @Slot()
    def _on_closed(self) -> None:
        window, self.window = self.window, None
        if window is not None:
            window.deleteLater()
