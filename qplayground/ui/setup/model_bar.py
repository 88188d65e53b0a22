"""The bar at the top: model, device, and the Compare and Stop buttons.

Longer than most modules, because it also shows what a picked model lacks and how to fix it.
"""

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QKeySequence, QPalette, QShortcut, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QToolButton, QWidget

from qplayground.core.errors import ErrorInfo
from qplayground.core.model import ModelEntry, ModelSource
from qplayground.core.units import bytes_text, count_text
from qplayground.runtime.machine.gpus import Gpu
from qplayground.runtime.models.jobs import Job
from qplayground.runtime.models.library import Library
from qplayground.ui.setup.device_box import DeviceBox
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import button, caption, in_column, in_row, selectable_label

_SOURCE_TEXT = {
    ModelSource.DEMO: "demo",
    ModelSource.CACHE: "hub cache",
    ModelSource.FOLDER: "folder",
    ModelSource.HUB: "hub",
}


class ModelBar(QWidget):
    """Binds the library to a model picker, and shows why its jobs failed.

    Signals: `model_changed(ModelEntry | None)`, `compare_requested()`, `stop_requested()`, `inside_requested()`,
    `escaped()` when Esc finds nothing to stop.
    """

    model_changed = Signal(object)
    compare_requested = Signal()
    stop_requested = Signal()
    inside_requested = Signal()
    escaped = Signal()

    def __init__(self, library: Library, gpus: list[Gpu]) -> None:
        super().__init__()
        self._library = library
        self._wanted_id: str | None = None
        self._asks_hub = False
        self._hub_job: Job | None = None
        self._error_is_hub_rows = False
        self._build(gpus)
        self._show_entries()
        library.entries_changed.connect(self._show_entries)
        library.folder_opened.connect(self._on_folder_opened)
        library.model_added.connect(self._on_model_added)
        library.job_started.connect(self._on_job_started)
        library.job_ended.connect(self._show_current)
        library.job_failed.connect(self._on_job_failed)

    # ---- build -----------------------------------------------------------------------------------------------

    def _build(self, gpus: list[Gpu]) -> None:
        self.details = selectable_label("About the model", QPalette.ColorRole.PlaceholderText)
        self.details.setWordWrap(False)
        self.details.setFont(theme.small(self.details.font()))
        self.details.setMinimumWidth(1)
        self.prepare = button("", self._on_prepare)  # for a model that is not prepared or downloaded yet
        self.error = selectable_label("What is wrong", QPalette.ColorRole.BrightText)
        self.error.hide()
        in_column(
            self._build_row(gpus),
            self._build_hub_row(),
            in_row(self.details, self.prepare, grows=self.details, spacing=theme.HALF_GRID),
            self.error,
            within=self,
            spacing=theme.HALF_GRID,
            margins=(theme.GRID, theme.GRID, theme.GRID, theme.HALF_GRID),
        )

    def _build_row(self, gpus: list[Gpu]) -> QHBoxLayout:
        self.models = QComboBox(
            minimumContentsLength=12,
            sizeAdjustPolicy=QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon,
        )
        self.models.setAccessibleName("Model")
        self.models.currentIndexChanged.connect(self._on_current_changed)
        tip = "Pick a folder that holds a model in safetensors (Ctrl+O)"
        self.open_folder = button("Open &folder…", self._on_open_folder, tip)
        self._add_key(QKeySequence.StandardKey.Open, self.open_folder)
        self.hub_id = QPushButton("Hub id…")
        self.hub_id.setCheckable(True)
        self._add_key("Ctrl+D", self.hub_id)
        self.hub_id.setToolTip(
            "Download a model from the Hugging Face hub by its id, or show what it would take (Ctrl+D)"
        )
        self.hub_id.toggled.connect(self._on_hub_toggled)
        self.inside = button("Inside…", self.inside_requested)
        self._add_key("Ctrl+I", self.inside)
        self.device = DeviceBox(gpus)
        self.compare = button("▶ &Compare", self.compare_requested)
        self.compare.setDefault(True)
        self._add_key("Ctrl+Return", self.compare)
        self.stop = button("■ &Stop", self.stop_requested, "Stop the comparison (Esc)")
        self.stop.setEnabled(False)
        QShortcut(QKeySequence("Esc"), self).activated.connect(self._on_escape)
        asking = (self.open_folder, self.hub_id, self.inside, caption("De&vice", self.device), self.device)
        row = in_row(caption("&Model", self.models), self.models, *asking, grows=self.models)
        row.addSpacing(theme.GRID)
        row.addWidget(self.compare)
        row.addWidget(self.stop)
        return row

    def _add_key(self, keys: QKeySequence.StandardKey | str, button: QPushButton) -> None:
        """Add a shortcut besides the button's mnemonic, which `QPushButton.setShortcut` would replace."""
        shortcut = QShortcut(QKeySequence(keys), self)
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
        shortcut.activated.connect(button.click)

    @Slot()
    def _on_escape(self) -> None:
        if self.stop.isEnabled():
            self.stop.click()
        else:
            self.escaped.emit()

    def _build_hub_row(self) -> QWidget:
        self.hub_edit = QLineEdit(placeholderText="owner/name, for example HuggingFaceTB/SmolLM2-135M-Instruct")
        self.hub_edit.setAccessibleName("Hub id")
        download = partial(self._ask_hub, self._library.download)
        self.hub_edit.returnPressed.connect(download)
        self.download = button("Do&wnload", download)
        tip = "Fetch config, tokenizer and headers, and show what each precision would take"
        self.look_up = button("Si&zes only", partial(self._ask_hub, self._library.look_up), tip)
        close = QToolButton()
        close.setText("✕")
        close.setToolTip("Close this line")
        close.setAccessibleName("Close the hub id line")
        close.clicked.connect(lambda: self.hub_id.setChecked(False))
        self._hub_row = QWidget()
        label = caption("Hub id", self.hub_edit)
        in_row(label, self.hub_edit, self.download, self.look_up, close, within=self._hub_row)
        self._hub_row.hide()
        return self._hub_row

    # ---- public methods --------------------------------------------------------------------------------------

    def current(self) -> ModelEntry | None:
        """The picked model."""
        data = self.models.currentData()
        return data if isinstance(data, ModelEntry) else None

    def want(self, model_id: str | None) -> None:
        """Pick this model as soon as the library lists it."""
        self._wanted_id = model_id
        self._show_entries()

    def set_busy(self, busy: bool) -> None:
        """Enable and disable controls for a running comparison."""
        for widget in (self.models, self.open_folder, self.hub_id, self.device):
            widget.setEnabled(not busy)
        self.stop.setEnabled(busy)
        if busy:
            self.compare.setEnabled(False)
        else:
            self._show_current()

    def show_error(self, error: ErrorInfo | None) -> None:
        """Show an error below the bar. None hides it."""
        self._error_is_hub_rows = False
        self.error.setVisible(error is not None)
        self.error.setText("" if error is None else str(error))
        self.error.setToolTip("" if error is None else theme.literal(error.detail))

    # ---- model → widget --------------------------------------------------------------------------------------

    @Slot()
    def _show_entries(self) -> None:
        kept = self._wanted_id or (self.current().id if self.current() else None)  # type: ignore[union-attr]
        entries = self._library.entries
        model = QStandardItemModel(self.models)
        for entry in entries:
            item = QStandardItem(_title(entry))
            item.setData(entry, Qt.ItemDataRole.UserRole)
            item.setToolTip(theme.literal(_details(entry) if entry.problem is None else str(entry.problem)))
            pickable = (entry.outline_path or entry.inside_path) is not None or entry.source is ModelSource.DEMO
            item.setEnabled(pickable)
            model.appendRow(item)
        if not entries:
            item = QStandardItem("Looking for models…")
            item.setEnabled(False)
            model.appendRow(item)
        with QSignalBlocker(self.models):
            self.models.setModel(model)
            index = next((row for row, entry in enumerate(entries) if entry.id == kept), 0)
            self.models.setCurrentIndex(index)
        self._show_current()
        self.model_changed.emit(self.current())

    @Slot()
    def _show_current(self) -> None:
        entry = self.current()
        unprepared = entry is not None and entry.source is ModelSource.DEMO and not entry.complete
        busy = self.stop.isEnabled()
        remote = entry is not None and entry.source is ModelSource.HUB
        self.prepare.setText("Download" if remote else "Prepare the demo model")
        self.prepare.setVisible((unprepared or remote) and self._library.job is None and not busy)
        usable = entry is not None and entry.usable
        preparing = self._library.is_preparing
        self.compare.setEnabled(usable and not busy and not preparing)
        if preparing:
            self.compare.setToolTip("The demo model is being prepared. Timings would be too slow until that is done.")
        else:
            tip = "Run the ticked precisions one after another (Ctrl+Return)"
            self.compare.setToolTip(tip if usable else theme.literal(_why(entry)))
        self.inside.setEnabled(entry is not None and entry.inside_path is not None)
        tip = "See the blocks, the levels and the error of quantizing its weights (Ctrl+I)"
        self.inside.setToolTip(
            tip if self.inside.isEnabled() else "Download the model first: there are no weights here yet."
        )
        self.details.setText("" if entry is None else _details(entry) if entry.problem is None else _problem(entry))
        self.details.setToolTip(theme.literal(self.details.text()))

    # ---- widget → model --------------------------------------------------------------------------------------

    @Slot()
    def _on_current_changed(self) -> None:
        self._wanted_id = None
        self.show_error(None)
        self._show_current()
        self.model_changed.emit(self.current())

    @Slot()
    def _on_open_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open a model folder")
        if folder:
            self._library.open_folder(folder)

    @Slot(bool)
    def _on_hub_toggled(self, shown: bool) -> None:
        self._hub_row.setVisible(shown)
        if shown:
            self.hub_edit.setFocus()
        elif self._error_is_hub_rows:
            self.show_error(None)

    @Slot()
    def _on_prepare(self) -> None:
        entry = self.current()
        if entry is not None and entry.source is ModelSource.HUB:
            self.show_error(None)
            self._library.download(entry.id)
        else:
            self._library.prepare_demo()

    def _ask_hub(self, ask: Callable[[str], None]) -> None:
        repo_id = self.hub_edit.text().strip()
        if repo_id:
            self.show_error(None)
            self._asks_hub = True  # the call starts the job or raises
            try:
                ask(repo_id)
            finally:
                self._asks_hub = False

    @Slot(object)
    def _on_job_started(self, job: Job) -> None:
        self._hub_job = job if self._asks_hub else None
        self._show_current()

    @Slot(object, object)
    def _on_job_failed(self, job: Job, error: ErrorInfo) -> None:
        self.show_error(error)
        self._error_is_hub_rows = self._asks_hub or job is self._hub_job

    @Slot(object)
    def _on_folder_opened(self, entry: ModelEntry) -> None:
        is_listed = entry.problem is None or entry.inside_path is not None
        self.show_error(None if is_listed else entry.problem)  # otherwise shown in the details
        if is_listed:
            self.want(entry.id)

    @Slot(object)
    def _on_model_added(self, entry: ModelEntry) -> None:
        self.hub_id.setChecked(False)
        self.show_error(entry.problem)
        self.want(entry.id)


def _title(entry: ModelEntry) -> str:
    state = "" if entry.outline_path else " · incomplete" if not entry.complete else " · cannot be used"
    if entry.problem is not None and entry.inside_path is not None:
        state = " · already quantized"
    if entry.source is ModelSource.DEMO and not entry.complete:
        state = " · not prepared yet"
    if entry.source is ModelSource.HUB:
        state = " · not downloaded"
    figures = f"{count_text(entry.parameters)} · {bytes_text(entry.size_bytes)}"
    return f"{entry.title} · {figures} · {_SOURCE_TEXT[entry.source]}{state}"


def _details(entry: ModelEntry) -> str:
    disk = "to download" if entry.source is ModelSource.HUB else "on disk"
    parts = [
        entry.architecture or "unknown architecture",
        f"{count_text(entry.parameters)} parameters",
        f"{bytes_text(entry.size_bytes)} {disk}{f' in {entry.stored_dtype}' if entry.stored_dtype else ''}",
    ]
    if entry.context_tokens:
        parts.append(f"context {entry.context_tokens:,} tokens")
    if entry.provenance:
        parts.append(entry.provenance)
    return " · ".join(parts)


def _problem(entry: ModelEntry) -> str:
    """The entry's problem, and what is still possible."""
    looked_into = " Inside… can still open it." if entry.inside_path is not None else ""
    return f"{entry.problem}{looked_into}"


def _why(entry: ModelEntry | None) -> str:
    if entry is None:
        return "No model is picked yet."
    missing = "downloaded" if entry.source is ModelSource.HUB else "prepared"
    return str(entry.problem) if entry.problem else f"The model is not {missing} yet."
