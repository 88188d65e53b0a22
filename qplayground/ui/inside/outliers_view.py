"""The Outliers tab: which dimensions of a layer exceed LLM.int8()'s threshold on the prompt, and what that gives."""

import math

import numpy as np
from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from qplayground.core.errors import ErrorInfo
from qplayground.core.generation import GenerationRequest
from qplayground.core.inside import ModelOutline, ThresholdTrial
from qplayground.core.messages.events import Progressed
from qplayground.core.messages.inside import InputsCaptured
from qplayground.core.precision import Dtype
from qplayground.core.units import bytes_text
from qplayground.runtime.inside.outliers import OutlierStudy
from qplayground.ui import theme
from qplayground.ui.inside.outliers_table import Magnitudes, OutliersTable
from qplayground.ui.inside.saving import SaveButton
from qplayground.ui.inside.threshold_figures import ThresholdFigures
from qplayground.ui.plots.outliers import DEFAULT_THRESHOLD, OutliersPlot

_STEPS = 1000
_PLACES = 2
"""Of a threshold, behind the point."""
_MOST = 99_999.0
"""float16 ends before."""
_RIGHT_WIDTH = 380
_PROMPT_SHOWN = 40
_HELD_BACK = "The prompt can be run here when the comparison is over: both would disturb each other's timing."
_STOPPED = "Stopped, because a comparison began. Run the prompt again when that is over."
_TRIAL_HELD_BACK = "A comparison runs; the threshold is tried when it is over."
_TRIAL_STOPPED = "A comparison began while the threshold was being tried. It is tried again when that is over."
_DWARFED = 20
"""Where the largest magnitude is so many times the default threshold, the others are seen on a logarithmic axis."""


class OutliersChart:
    """A layer's plot for a file; below its numbers are what the threshold gives it, and the outliers of all layers."""

    def __init__(self, plot: OutliersPlot, figures: ThresholdFigures, layers: OutliersTable) -> None:
        self.view: QWidget = plot.view
        self._parts = (plot, figures, layers)

    def table(self) -> list[list[object]]:
        """One below the other, with a heading each; empty while there is nothing."""
        rows: list[list[object]] = []
        for part in self._parts:
            more = part.table()
            rows += [[], *more] if rows and more else more
        return rows


class OutliersView(QWidget):
    """Runs the prompt once, and tries thresholds on what went into each layer.

    Signals: `module_chosen(str)` when a person chooses a layer here; `said(str)` for the status bar.
    """

    module_chosen = Signal(str)
    said = Signal(str)

    def __init__(self, study: OutlierStudy, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._study = study
        self._path = ""
        self._outline: ModelOutline | None = None
        self._request = GenerationRequest()
        self._dtype = Dtype.BFLOAT16
        self._captured_from: tuple[GenerationRequest, Dtype] | None = None
        self._tokens = 0
        self._layers: dict[str, Magnitudes] = {}
        self._module = ""
        self._threshold = self._top = DEFAULT_THRESHOLD  # the slider's end: the layer's largest magnitude
        self._trial: ThresholdTrial | None = None
        self._errors_without: dict[str, float] = {}  # of the output of a layer that keeps nothing in 16 bits
        self._held_back = self._was_stopped = self._trial_was_stopped = False
        self._make_controls()
        self._lay_out()
        study.progressed.connect(self._on_progressed)
        study.captured.connect(self._on_captured)
        study.tried.connect(self._on_tried)
        study.failed.connect(self._on_failed)
        study.cancelled.connect(self._on_cancelled)
        study.busy_changed.connect(self._on_busy_changed)
        self._clear()
        self._show_state()

    # ---- what the window says -------------------------------------------------------------------------------------

    def show_model(self, path: str, outline: ModelOutline | None, request: GenerationRequest, dtype: Dtype) -> None:
        """Be ready to run that prompt on that model, in `dtype`. What another model gave is forgotten."""
        if path != self._path:
            self._study.cancel()
            self._study.let_go()
            self._clear()
        self._path, self._outline, self._request, self._dtype = path, outline, request, dtype
        self._show_state()

    def choose_module(self, module: str) -> None:
        """Show that layer, if something was captured of it."""
        if module in self._layers and module != self._module:
            self._choose(module)

    def hold_back(self, hold: bool) -> None:
        """While something is timed no prompt is run and no threshold tried; a prompt that was being run is stopped."""
        self._held_back = hold
        self._was_stopped = hold and (self._was_stopped or self._study.is_capturing)
        self._trial_was_stopped = hold and (self._trial_was_stopped or self._study.is_trying)
        if hold:
            self._study.cancel()
            self._study.stop_trying()
        self._show_state()
        if not hold:
            self._try()

    # ---- parts ----------------------------------------------------------------------------------------------------

    def _make_controls(self) -> None:
        self.run = QPushButton("&Run the prompt")
        self.run.clicked.connect(self._on_run)
        self.cancel = QPushButton("Cancel")
        self.cancel.clicked.connect(self._study.cancel)
        self.cancel.hide()
        self.progress = QProgressBar()
        self.progress.setAccessibleName("Progress of the model's load")
        self.progress.setFixedWidth(20 * theme.GRID)
        self.progress.hide()
        self.state = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.state.setWordWrap(True)
        self.state.setMinimumWidth(1)
        self.chooser = QComboBox()
        self.chooser.setAccessibleName("Layer")
        self.chooser.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.chooser.setMinimumContentsLength(24)
        self.chooser.activated.connect(self._on_layer_activated)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _STEPS)
        self.slider.setMinimumWidth(12 * theme.GRID)
        self.slider.setAccessibleName("Threshold, finer at its lower end")
        self.slider.valueChanged.connect(self._on_slider_moved)
        self.spin = QDoubleSpinBox()
        self.spin.setDecimals(_PLACES)
        self.spin.setRange(0, _MOST)
        self.spin.setSingleStep(0.1)
        self.spin.setAccessibleName("Threshold")
        self.spin.setToolTip("Magnitudes from here on are outliers; 0 turns outliers off")
        self.spin.valueChanged.connect(self._set_threshold)
        self.default = QToolButton()
        self.default.setText(f"{DEFAULT_THRESHOLD}")
        self.default.setToolTip("LLM.int8()'s default")
        self.default.clicked.connect(self._on_default)
        self.logarithmic = QCheckBox("Logarithmic")
        self.plot = OutliersPlot()
        self.plot.threshold_dragged.connect(self._on_dragged)
        self.logarithmic.toggled.connect(self.plot.set_logarithmic)
        self.table = OutliersTable()
        self.table.module_chosen.connect(self._on_chosen)
        self.figures = ThresholdFigures()
        self.chart = OutliersChart(self.plot, self.figures, self.table)
        self.save = SaveButton({"Outliers": self.chart})
        self.save.failed.connect(self._on_save_failed)
        self.save.saved.connect(lambda path: self.said.emit(f"Saved as {path}"))

    def _lay_out(self) -> None:
        first = QHBoxLayout()
        for widget in (self.run, self.cancel, self.progress):
            first.addWidget(widget)
        first.addWidget(self.state, 1)
        first.addWidget(self.save)
        second = QHBoxLayout()
        second.addWidget(QLabel("Layer"))
        second.addWidget(self.chooser)
        second.addWidget(QLabel("Threshold"))
        second.addWidget(self.slider, 1)
        second.addWidget(self.spin)
        second.addWidget(self.default)
        second.addWidget(self.logarithmic)
        self._controls = QWidget()
        second.setContentsMargins(0, 0, 0, 0)
        self._controls.setLayout(second)
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.HALF_GRID)
        column.addWidget(self.figures)
        column.addWidget(self.table, 1)
        self._body = QSplitter(Qt.Orientation.Horizontal)
        self._body.setChildrenCollapsible(False)
        self._body.addWidget(self.plot)
        self._body.addWidget(right)
        self._body.setStretchFactor(0, 1)
        self._body.setSizes([2 * _RIGHT_WIDTH, _RIGHT_WIDTH])
        self._body.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.GRID, theme.GRID, theme.GRID, theme.GRID)
        layout.setSpacing(theme.GRID)
        layout.addLayout(first)
        layout.addWidget(self._controls)
        empty = QLabel("What goes into each layer while the model reads the prompt is drawn here.")
        empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        empty.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self._stack = QStackedWidget()
        self._stack.addWidget(empty)
        self._stack.addWidget(self._body)
        layout.addWidget(self._stack, 1)

    # ---- running the prompt ---------------------------------------------------------------------------------------

    def _obstacle(self) -> str:
        """Why the prompt cannot be run now; empty when it can."""
        if not self._path:
            return "Pick a model first."
        if self._outline is not None and self._outline.quantized_by:
            return f"This model is quantized already ({self._outline.quantized_by}): LLM.int8() needs the original one."
        if self._held_back:
            return _STOPPED if self._was_stopped else _HELD_BACK
        error = self._request.error()
        return "" if error is None else str(error)

    def _show_state(self) -> None:
        obstacle = self._obstacle()
        self._stack.setCurrentIndex(1 if self._layers else 0)
        self.run.setEnabled(not obstacle and not self._study.is_capturing)
        if self._study.is_capturing:
            return
        if obstacle and not self._layers:
            self.state.setText(obstacle)
        elif not self._layers:
            self.state.setText(
                f"This loads the model in {self._dtype} and lets it read the prompt once. Then the model is let go; "
                "what went into each layer is kept."
            )
        else:
            self.state.setText(self._captured_text())
        self.run.setToolTip(theme.tip(obstacle or self._request.prompt))

    def _captured_text(self) -> str:
        assert self._captured_from is not None
        request, dtype = self._captured_from
        prompt = " ".join(request.prompt.split())
        shown = f"{prompt[:_PROMPT_SHOWN]}…" if len(prompt) > _PROMPT_SHOWN else prompt
        text = f"{self._tokens:,} tokens read in {dtype}: “{shown}”."
        chat, now = request.settings.chat_template, self._request
        if (request.prompt, chat, dtype) != (now.prompt, now.settings.chat_template, self._dtype):
            text += " The prompt has changed since; run it again."
        if self._held_back and (self._trial_was_stopped or self._trial is None):
            text += f" {_TRIAL_STOPPED if self._trial_was_stopped else _TRIAL_HELD_BACK}"
        return text

    @Slot()
    def _on_run(self) -> None:
        self._clear()
        self._captured_from = (self._request, self._dtype)
        self._study.capture(self._path, self._dtype, self._request)

    @Slot(bool)
    def _on_busy_changed(self, busy: bool) -> None:
        self.cancel.setVisible(busy)
        self.progress.setVisible(busy)
        if busy:
            self.progress.setRange(0, 0)
            self.state.setText(f"Loading the model in {self._dtype} …")
        self._show_state()

    @Slot(object)
    def _on_progressed(self, event: Progressed) -> None:
        self.progress.setRange(0, _STEPS if event.total else 0)
        self.progress.setValue(round(_STEPS * event.done / max(event.total, 1)))
        in_bytes = event.unit == "bytes" and event.total
        amount = f", {bytes_text(event.done)} of {bytes_text(event.total)}" if in_bytes else ""
        self.state.setText(f"{event.label}{amount} …")

    @Slot(object)
    def _on_captured(self, event: InputsCaptured) -> None:
        self._tokens = event.tokens
        self._layers = {layer.module: np.frombuffer(layer.magnitudes.data, dtype=np.float32) for layer in event.layers}
        self.chooser.clear()
        self.chooser.addItems(list(self._layers))
        self.table.show_layers(list(self._layers.items()), self._threshold)
        self._controls.setEnabled(bool(self._layers))
        self.save.setEnabled(bool(self._layers))
        self._show_state()
        if self._layers:
            suggested = "" if self._outline is None else self._outline.suggested
            self._choose(suggested if suggested in self._layers else next(iter(self._layers)))
        else:
            self.state.setText("This model has no layer that LLM.int8() would quantize.")

    @Slot(object)
    def _on_failed(self, error: ErrorInfo) -> None:
        if self._study.inputs is None:  # the load failed, or the engine ended with all that it kept
            self._clear()
        else:
            self._show_trial(None)
        self._show_state()
        self.state.setText(str(error))

    @Slot()
    def _on_cancelled(self) -> None:
        self._show_state()

    # ---- a layer and a threshold ----------------------------------------------------------------------------------

    def _clear(self) -> None:
        self._layers, self._module, self._captured_from = {}, "", None
        self._errors_without = {}
        self.chooser.clear()
        self.table.show_layers([], self._threshold)
        self.plot.show_magnitudes("", np.empty(0, np.float32), DEFAULT_THRESHOLD)
        self._controls.setEnabled(False)
        self.save.setEnabled(False)
        self._show_trial(None)

    def _choose(self, module: str) -> None:
        self._module = module
        self.chooser.setCurrentText(module)
        self.table.choose(module)
        magnitudes = self._layers[module]
        largest = float(magnitudes.max(initial=0))
        self._top = max(math.ceil(largest * 10**_PLACES) / 10**_PLACES, DEFAULT_THRESHOLD)
        self.logarithmic.setChecked(largest > _DWARFED * DEFAULT_THRESHOLD)
        self.plot.show_magnitudes(module, magnitudes, self._top)
        self._set_threshold(self._threshold)

    @Slot(str)
    def _on_chosen(self, module: str) -> None:
        if module != self._module:
            self._choose(module)
            self.module_chosen.emit(module)

    @Slot()
    def _on_layer_activated(self) -> None:
        self._on_chosen(self.chooser.currentText())

    @Slot()
    def _on_default(self) -> None:
        self._set_threshold(DEFAULT_THRESHOLD)

    @Slot(int)
    def _on_slider_moved(self, place: int) -> None:
        """By the square: what matters is at the lower end, and a few magnitudes are far above."""
        self._set_threshold(round(self._top * (place / _STEPS) ** 2, _PLACES))

    @Slot(float)
    def _on_dragged(self, threshold: float) -> None:
        self._set_threshold(round(threshold, _PLACES))

    @Slot(float)
    def _set_threshold(self, threshold: float) -> None:
        self._threshold = threshold
        place = min(_STEPS, round(_STEPS * math.sqrt(threshold / self._top)))
        for control, value in ((self.slider, place), (self.spin, threshold)):
            control.blockSignals(True)
            control.setValue(value)  # type: ignore[arg-type]
            control.blockSignals(False)
        self.plot.set_threshold(threshold)
        self.table.set_threshold(threshold)
        self._try()

    def _try(self) -> None:
        if self._module not in self._layers:
            return
        if self._study.inputs is None:
            self._show_trial(None)
            self.state.setText("The engine has ended, and with it what went into the layers. Run the prompt again.")
            return
        self.figures.fade()
        self._trial = None
        if self._held_back:
            self._show_state()
        else:
            self._study.try_threshold(self._module, self._threshold)

    @Slot(object)
    def _on_tried(self, trial: ThresholdTrial) -> None:
        if trial.threshold == 0:
            self._errors_without[trial.module] = trial.relative_error
        if trial.module != self._module:
            return
        if trial.threshold == self._threshold:
            self._trial = trial
            self._show_trial(trial)
            if self._module not in self._errors_without and not self._held_back:
                self._study.try_threshold(self._module, 0)  # what it is to be compared with
        elif trial.threshold == 0 and self._trial is not None and self._trial.threshold == self._threshold:
            self._show_trial(self._trial)

    def _show_trial(self, trial: ThresholdTrial | None) -> None:
        self._trial = trial
        self.figures.show_trial(trial, None if trial is None else self._errors_without.get(trial.module))

    @Slot(object)
    def _on_save_failed(self, error: ErrorInfo) -> None:
        self.state.setText(str(error))
