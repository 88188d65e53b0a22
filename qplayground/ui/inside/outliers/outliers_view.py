"""The Outliers tab: the dimensions of a layer above LLM.int8()'s threshold on the prompt, and their effect."""

import numpy as np
from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QCheckBox, QComboBox, QLabel, QSizePolicy, QStackedWidget, QWidget

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorInfo
from qplayground.core.generation import GenerationRequest
from qplayground.core.inside import ModelOutline, ThresholdTrial
from qplayground.core.messages.inside import InputsCaptured
from qplayground.runtime.inside.outliers import OutlierStudy
from qplayground.ui.charts.inside.outliers import DEFAULT_THRESHOLD, OutliersPlot
from qplayground.ui.inside.outliers.outliers_table import Magnitudes, OutliersTable
from qplayground.ui.inside.outliers.prompt_run import PromptRun
from qplayground.ui.inside.outliers.threshold_box import ThresholdBox
from qplayground.ui.inside.outliers.threshold_figures import ThresholdFigures
from qplayground.ui.inside.saving import SaveButton
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import held, in_column, in_row, splitter

_RIGHT_WIDTH = 380
_TRIAL_PAUSED = "A comparison is running. The threshold is tried afterwards."
_TRIAL_STOPPED = "A comparison began while the threshold was being tried. It is tried again when that is over."
_DWARFED = 20
"""The axis is logarithmic if the largest magnitude exceeds this multiple of the default threshold."""


class OutliersChart:
    """A layer's plot, for saving. The table has its numbers, the threshold's figures, and all layers' outliers."""

    def __init__(self, plot: OutliersPlot, figures: ThresholdFigures, layers: OutliersTable) -> None:
        self.view: QWidget = plot.view
        self._parts = (plot, figures, layers)

    def table(self) -> list[list[object]]:
        """The three tables below one another, each with headings. Empty if there is no data."""
        rows: list[list[object]] = []
        for part in self._parts:
            more = part.table()
            rows += [[], *more] if rows and more else more
        return rows


class OutliersView(QWidget):
    """Tries thresholds on the layer inputs captured while the model read the prompt.

    Signals: `module_chosen(str)` when the user chooses a layer here; `said(str)` for the status bar.
    """

    module_chosen = Signal(str)
    said = Signal(str)

    def __init__(self, study: OutlierStudy) -> None:
        super().__init__()
        self._study = study
        self._suggested = ""
        self._layers: dict[str, Magnitudes] = {}
        self._module = ""
        self._trial: ThresholdTrial | None = None
        self._errors_without: dict[str, float] = {}  # output error without 16-bit columns, by layer
        self._paused = self._trial_was_stopped = False
        self._make_parts()
        self._lay_out()
        self.prompt.about_to_run.connect(self._clear)
        study.captured.connect(self._on_captured)
        study.tried.connect(self._on_tried)
        study.failed.connect(self._on_failed)
        study.cancelled.connect(self._show_state)
        self._clear()
        self._show_state()

    # ---- public methods -------------------------------------------------------------------------------------------

    def show_model(self, path: str, outline: ModelOutline | None, request: GenerationRequest, dtype: Dtype) -> None:
        """Set the model, the prompt to run, and the `dtype`. The results of another model are discarded."""
        if path != self.prompt.path:
            self._study.cancel()
            self._study.unload()
            self._clear()
        self._suggested = "" if outline is None else outline.suggested
        self.prompt.show_model(path, "" if outline is None else outline.quantized_by, request, dtype)
        self._show_state()

    def choose_module(self, module: str) -> None:
        """Show this layer, if its inputs were captured."""
        if module in self._layers and module != self._module:
            self._choose(module)

    def set_paused(self, paused: bool) -> None:
        """Pause during a comparison: no prompt or threshold is run. A prompt that is running is stopped."""
        self._paused = paused
        self.prompt.set_paused(paused)
        self._trial_was_stopped = paused and (self._trial_was_stopped or self._study.is_trying)
        if paused:
            self._study.cancel()
            self._study.stop_trying()
        self._show_state()
        if not paused:
            self._try()

    # ---- parts ----------------------------------------------------------------------------------------------------

    def _make_parts(self) -> None:
        self.prompt = PromptRun(self._study)
        policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        self.chooser = QComboBox(sizeAdjustPolicy=policy, minimumContentsLength=24)
        self.chooser.setAccessibleName("Layer")
        self.chooser.activated.connect(self._on_layer_activated)
        self.threshold = ThresholdBox()
        self.threshold.changed.connect(self._on_threshold_changed)
        self.logarithmic = QCheckBox("Logarithmic")
        self.plot = OutliersPlot()
        self.plot.threshold_dragged.connect(self.threshold.drag)
        self.logarithmic.toggled.connect(self.plot.set_logarithmic)
        self.table = OutliersTable()
        self.table.module_chosen.connect(self._on_chosen)
        self.figures = ThresholdFigures()
        self.chart = OutliersChart(self.plot, self.figures, self.table)
        self.save = SaveButton({"Outliers": self.chart})
        self.save.failed.connect(self.prompt.say)
        self.save.said.connect(self.said)

    def _lay_out(self) -> None:
        self._controls = held(
            in_row(QLabel("Layer"), self.chooser, self.threshold, self.logarithmic, grows=self.threshold, spacing=-1)
        )
        right = held(in_column(self.figures, self.table, grows=self.table, spacing=theme.HALF_GRID))
        body = splitter(Qt.Orientation.Horizontal, self.plot, right)
        body.setStretchFactor(0, 1)
        body.setSizes([2 * _RIGHT_WIDTH, _RIGHT_WIDTH])
        body.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        empty = QLabel("The inputs of each layer are drawn here, once the model has read the prompt.")
        empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        empty.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self._stack = QStackedWidget()
        self._stack.addWidget(empty)
        self._stack.addWidget(body)
        above = in_row(self.prompt, self.save, grows=self.prompt, spacing=-1)
        in_column(
            above, self._controls, self._stack, within=self, grows=self._stack, margins=theme.GRID, spacing=theme.GRID
        )

    # ---- results of the prompt ------------------------------------------------------------------------------------

    @Slot()
    def _show_state(self) -> None:
        """Show what was run. While paused, add that thresholds are not tried either."""
        note = ""
        if self._paused and (self._trial_was_stopped or self._trial is None):
            note = _TRIAL_STOPPED if self._trial_was_stopped else _TRIAL_PAUSED
        self.prompt.show_state(note)

    @Slot(object)
    def _on_captured(self, event: InputsCaptured) -> None:
        self._layers = {layer.module: np.frombuffer(layer.magnitudes.data, dtype=np.float32) for layer in event.layers}
        self.chooser.clear()
        self.chooser.addItems(list(self._layers))
        self.table.show_layers(list(self._layers.items()), self.threshold.value)
        self._stack.setCurrentIndex(1 if self._layers else 0)
        self._controls.setEnabled(bool(self._layers))
        self.save.setEnabled(bool(self._layers))
        if self._layers:
            self._choose(self._suggested if self._suggested in self._layers else next(iter(self._layers)))

    @Slot(object)
    def _on_failed(self, error: ErrorInfo) -> None:
        if self._study.inputs is None:  # loading failed, or the engine ended and the inputs with it
            self._clear()
        else:
            self._show_trial(None)
        self._show_state()
        self.prompt.say(str(error))

    # ---- layer and threshold --------------------------------------------------------------------------------------

    @Slot()
    def _clear(self) -> None:
        self.prompt.forget()
        self._layers, self._module = {}, ""
        self._stack.setCurrentIndex(0)
        self._errors_without = {}
        self.chooser.clear()
        self.table.show_layers([], self.threshold.value)
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
        self.logarithmic.setChecked(largest > _DWARFED * DEFAULT_THRESHOLD)
        self.threshold.set_largest(largest)
        self.plot.show_magnitudes(module, magnitudes, self.threshold.top)
        self._on_threshold_changed(self.threshold.value)

    @Slot(str)
    def _on_chosen(self, module: str) -> None:
        if module != self._module:
            self._choose(module)
            self.module_chosen.emit(module)

    @Slot()
    def _on_layer_activated(self) -> None:
        self._on_chosen(self.chooser.currentText())

    @Slot(float)
    def _on_threshold_changed(self, threshold: float) -> None:
        self.plot.set_threshold(threshold)
        self.table.set_threshold(threshold)
        self._try()

    def _try(self) -> None:
        if self._module not in self._layers:
            return
        if self._study.inputs is None:
            self._show_trial(None)
            self.prompt.say("The engine has ended, and the layers' inputs are lost with it. Run the prompt again.")
            return
        self.figures.fade()
        self._trial = None
        if self._paused:
            self._show_state()
        else:
            self._study.try_threshold(self._module, self.threshold.value)

    @Slot(object)
    def _on_tried(self, trial: ThresholdTrial) -> None:
        if trial.threshold == 0:
            self._errors_without[trial.module] = trial.relative_error
        if trial.module != self._module:
            return
        if trial.threshold == self.threshold.value:
            self._trial = trial
            self._show_trial(trial)
            if self._module not in self._errors_without and not self._paused:
                self._study.try_threshold(self._module, 0)  # the reference for the comparison
        elif trial.threshold == 0 and self._trial is not None and self._trial.threshold == self.threshold.value:
            self._show_trial(self._trial)

    def _show_trial(self, trial: ThresholdTrial | None) -> None:
        self._trial = trial
        self.figures.show_trial(trial, None if trial is None else self._errors_without.get(trial.module))
