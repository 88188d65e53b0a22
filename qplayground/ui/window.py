"""The main window: assembles the widgets and connects them to the session."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QCloseEvent, QKeySequence, QPalette, QShortcut
from PySide6.QtWidgets import QFileDialog, QLabel, QMainWindow, QSplitter, QWidget

from qplayground.core.errors import ErrorInfo
from qplayground.core.messages.events import Hello
from qplayground.core.model import ModelEntry
from qplayground.runtime.clients.doctor import Doctor
from qplayground.runtime.clients.planner import Planner
from qplayground.runtime.comparison.recorder import Recorder
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.machine.gpus import list_gpus
from qplayground.runtime.models.jobs import Job
from qplayground.runtime.models.library import Library
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.history import History
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.comparing import Comparing
from qplayground.ui.comparison.comparison_tabs import ComparisonTabs
from qplayground.ui.comparison.memory_view import MemoryView
from qplayground.ui.comparison.results_view import ResultsView
from qplayground.ui.dialogs.exporting import export
from qplayground.ui.history.history_view import HistoryView
from qplayground.ui.history.readers import Readers
from qplayground.ui.inside.opening import Opening
from qplayground.ui.setup.choosers import Choosers
from qplayground.ui.setup.model_bar import ModelBar
from qplayground.ui.setup.placing import Placing
from qplayground.ui.setup.precision_panel import PrecisionPanel
from qplayground.ui.setup.prompt_box import PromptBox
from qplayground.ui.setup.run_options import RunOptions
from qplayground.ui.start_up import StartUp
from qplayground.ui.status.job_status import JobStatus
from qplayground.ui.status.kept_models import KeptModels
from qplayground.ui.status.log_view import LogView
from qplayground.ui.status.machine_status import MachineStatus
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.page import scrolling_page
from qplayground.ui.widgets.parts import flat_button, in_column
from qplayground.ui.widgets.text_size import TextSize
from qplayground.ui.widgets.window_size import size_for_screen

if TYPE_CHECKING:
    from qplayground.ui.dialogs.guide_dialog import GuideDialog

_MESSAGE_MS = 10_000


class MainWindow(QMainWindow):
    """Model bar on top; precisions and prompt on the left; columns and charts on the right.

    It owns a session, a library and preferences. It starts nothing.
    """

    _preferences_told = Signal()  # crosses over from the thread that writes them

    def __init__(self, launcher: Launcher) -> None:
        super().__init__()
        self.preferences = preferences = Preferences.load()
        self.history_store = History()  # the stored data; `history` is the tab
        self.session = session = Session(launcher)
        self.library = Library(launcher, tuple(str(folder) for folder in preferences.recent_folders))
        self.planner = Planner(launcher)
        self.doctor = Doctor(launcher)
        self.inside = Opening(launcher, preferences)
        self.start_up = StartUp(session, self.library)
        self.setWindowTitle("qplayground")
        gpus = list_gpus()
        self.models = ModelBar(self.library, gpus)
        self.precisions = PrecisionPanel(preferences)
        if gpus:  # until an engine says what torch can use
            self.precisions.set_bfloat16_available(gpus[0].bfloat16)
        self.prompt = PromptBox(preferences)
        self.options = RunOptions(preferences)
        self.results = ResultsView()
        choosers = Choosers(self.models, self.precisions, self.prompt, self.options)
        self.placing = Placing(session, self.planner, preferences, choosers, self)
        self.comparing = Comparing(session, self.planner, preferences, choosers, self)
        self.memory = MemoryView(session)
        self.history = HistoryView(self.history_store)
        self.recorder = Recorder(session, self.history_store, self)
        self.readers = Readers(self)
        self._guide: GuideDialog | None = None
        self.log_view = LogView(session, self.doctor)
        self.log = self.log_view.text
        self._build()
        self._connect()
        self._restore()
        for owned in (session, self.library, self.planner, self.doctor, self.inside, self.start_up):
            owned.setParent(self)

    # ---- build -----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.tabs = ComparisonTabs()
        self.tabs.insertTab(0, self.memory, "Memor&y")
        self.tabs.addTab(self.history, "H&istory")
        self.tabs.addTab(self.log_view, "Log")
        self.tabs.setCurrentIndex(0)
        asking = QWidget()
        in_column(self.prompt, self.options, within=asking, grows=self.prompt)
        self._left = _split(Qt.Orientation.Vertical, "left", (self.precisions, 1), (asking, 0))
        self._right = _split(Qt.Orientation.Vertical, "right", (self.results, 3), (self.tabs, 2))
        self._right.setSizes([440, 240])
        self._across = _split(Qt.Orientation.Horizontal, "across", (self._left, 0), (self._right, 1))
        self.notice = QLabel(textFormat=Qt.TextFormat.PlainText, wordWrap=True)
        self.notice.setForegroundRole(QPalette.ColorRole.BrightText)
        self.notice.setContentsMargins(theme.GRID, 0, theme.GRID, 0)
        page = QWidget()
        in_column(self.models, self.notice, self._across, within=page, grows=self._across)
        self.setCentralWidget(scrolling_page(page))
        self._show_notice()
        self._preferences_told.connect(self._show_notice)
        self.preferences.tell(self._preferences_told.emit)
        self.statusBar().setSizeGripEnabled(False)
        self.statusBar().addWidget(MachineStatus(self.session), 1)
        self.kept, self.job = KeptModels(self.session), JobStatus(self.library)
        self.text_size = TextSize(self.preferences)
        self.help = flat_button("Help", "The guide (F1)", self.show_guide)
        for widget in (self.kept, self.job, self.text_size, self.help):
            self.statusBar().addPermanentWidget(widget)

    def _connect(self) -> None:
        QShortcut(QKeySequence(QKeySequence.StandardKey.Quit), self).activated.connect(self.close)
        QShortcut(QKeySequence(QKeySequence.StandardKey.HelpContents), self).activated.connect(self.show_guide)
        self.models.compare_requested.connect(self.comparing.compare)
        self.models.stop_requested.connect(self.session.stop)
        self.models.escaped.connect(self.precisions.escape)
        self.models.model_changed.connect(self._on_model_changed)
        self.inside.connect_to(self.session, self.models, self.precisions, self.prompt)
        self.tabs.inside_requested.connect(self.inside.open_layer)
        self.readers.inside_requested.connect(self.inside.open_layer)
        self.prompt.submitted.connect(self.comparing.compare)
        self.session.machine_known.connect(self._on_machine_known)
        self.session.busy_changed.connect(self.models.set_busy)
        self._connect_results()
        self.session.log_added.connect(self.log.appendPlainText)
        self.library.job_failed.connect(self._on_job_failed)
        self.library.folder_opened.connect(self._on_folder_opened)

    def _connect_results(self) -> None:
        session, results = self.session, self.results
        session.comparison_started.connect(results.show_comparison)
        session.comparison_changed.connect(results.show_comparison)
        session.run_changed.connect(results.refresh_run)
        session.run_cleared.connect(results.clear_run)
        session.tokens_added.connect(results.add_tokens)
        session.phase_started.connect(results.show_phase)
        session.comparison_finished.connect(results.line_up)
        session.progressed.connect(results.show_progress)
        results.baseline_chosen.connect(session.set_baseline)
        results.run_again_requested.connect(self.comparing.run_again)
        results.modules_requested.connect(self._show_modules)
        results.remove_requested.connect(session.remove)
        results.move_requested.connect(session.move)
        results.add_requested.connect(self.comparing.add)
        results.export_requested.connect(self.export)
        results.open_requested.connect(self.choose_file)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Save), self).activated.connect(self.export)
        self.history.opened.connect(self.readers.read)
        self.history.deleted.connect(self.recorder.forget)
        self.recorder.saved.connect(self._on_saved)
        self.recorder.failed.connect(self._show_notice)
        self.tabs.currentChanged.connect(self._on_tab_changed)
        self.tabs.chart_saved.connect(self._on_written)
        session.comparison_started.connect(self.tabs.show_comparison)
        session.comparison_changed.connect(self.tabs.show_comparison)
        session.run_changed.connect(self._on_run_changed)
        self.start_up.charts_imported.connect(self.memory.load_charts)
        self.start_up.charts_imported.connect(self.tabs.load_charts)
        self.start_up.problem_found.connect(self.log.appendPlainText)
        self.options.keep_loaded_changed.connect(session.set_keep_loaded)
        session.set_keep_loaded(self.options.keep_loaded.isChecked())
        self.precisions.precisions_changed.connect(self._show_addable)
        self._show_addable()

    @Slot(str)
    def _show_modules(self, name: str) -> None:
        comparison = self.session.comparison
        if comparison is not None:
            from qplayground.ui.dialogs.modules_dialog import ModulesDialog

            ModulesDialog(comparison.run(name), self).show()

    # ---- actions ---------------------------------------------------------------------------------------------

    @Slot()
    def show_guide(self) -> None:
        """Open the guide beside the window, or bring it to the front."""
        if self._guide is None:
            from qplayground.ui.dialogs.guide_dialog import GuideDialog

            self._guide = GuideDialog(self)
        self._guide.show()
        self._guide.raise_()
        self._guide.activateWindow()

    @Slot()
    def export(self) -> None:
        """Save the current comparison to a file."""
        path = None if self.results.comparison is None else export(self, self.results.comparison)
        if path is not None:
            self._on_written(path)

    @Slot()
    def choose_file(self) -> None:
        """Ask for a saved comparison and open it."""
        name, _ = QFileDialog.getOpenFileName(self, "Open a comparison", "", "Comparisons (*.json)")
        if name:
            self.open_files([Path(name)])

    def open_files(self, paths: Sequence[Path]) -> None:
        """Open saved comparisons in their own windows. Shows the first error, if any."""
        self.models.show_error(self.readers.open_files(paths))

    @Slot()
    def _show_addable(self) -> None:
        self.results.addable = self.precisions.usable()

    # ---- events ----------------------------------------------------------------------------------------------

    @Slot(object)
    def _on_written(self, path: Path) -> None:
        self.statusBar().showMessage(f"Saved as {path}", _MESSAGE_MS)

    @Slot(object)
    def _on_machine_known(self, hello: Hello) -> None:
        self.library.set_model_types(hello.model_types)
        self.precisions.set_bfloat16_available(hello.machine.bfloat16)

    @Slot()
    def _on_saved(self) -> None:
        self._show_notice()
        if self.tabs.currentWidget() is self.history and not self.session.is_busy:
            self.history.refresh()

    @Slot()
    @Slot(str)
    def _show_notice(self, message: str = "") -> None:
        """Show what cannot be saved."""
        notices = " ".join(filter(None, (self.preferences.notice, self.history_store.notice, message)))
        self.notice.setText(notices)
        self.notice.setVisible(bool(notices))

    @Slot()
    def _on_tab_changed(self) -> None:
        if self.tabs.currentWidget() is self.history:
            self.history.refresh()

    @Slot(str)
    def _on_run_changed(self, name: str) -> None:
        comparison = self.session.comparison
        if comparison is not None and comparison.run(name).is_at_rest:  # nothing is being timed now
            self.tabs.refresh_soon()

    @Slot(object)
    def _on_model_changed(self, entry: ModelEntry | None) -> None:
        self.prompt.set_chat_template_available(entry is not None and entry.has_chat_template)

    @Slot(object)
    def _on_folder_opened(self, entry: ModelEntry) -> None:
        if entry.usable and entry.path is not None:
            self.preferences.remember_folder(Path(entry.path))

    @Slot(object, object)
    def _on_job_failed(self, job: Job, error: ErrorInfo) -> None:
        self.log.appendPlainText(f"{job.title}: {error} {error.detail}".rstrip())

    # ---- saved state -----------------------------------------------------------------------------------------

    def _restore(self) -> None:
        size_for_screen(self)
        self.restoreGeometry(self.preferences.layout("window"))
        for splitter in (self._left, self._right, self._across):
            splitter.restoreState(self.preferences.layout(splitter.objectName()))
        self.models.want(self.preferences.last_model)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Save the layout and end everything that runs."""
        layouts = {each.objectName(): each.saveState() for each in (self._left, self._right, self._across)}
        layouts["window"] = self.saveGeometry()
        self.preferences.set_layouts({name: bytes(layout.data()) for name, layout in layouts.items()})
        for owner in (self.readers, self.inside, self.start_up, self.doctor, self.planner, self.session, self.library):
            owner.close()
        self.history_store.close()
        self.preferences.close()
        super().closeEvent(event)


def _split(orientation: Qt.Orientation, name: str, *parts: tuple[QWidget, int]) -> QSplitter:
    """A splitter whose parts get the given stretch factors."""
    splitter = QSplitter(orientation, childrenCollapsible=False)
    splitter.setObjectName(name)
    for place, (widget, share) in enumerate(parts):
        splitter.addWidget(widget)
        splitter.setStretchFactor(place, share)
    return splitter
