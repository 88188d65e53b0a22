"""The Layers tab: the error of every layer under one choice of parameters, and the chosen matrix under all choices."""

from msgspec.structs import replace
from PySide6.QtCore import QSignalBlocker, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QCheckBox, QComboBox, QPushButton, QWidget

from qplayground.core.inside import LayerRow, LeftOut, QuantizationParams
from qplayground.core.messages.events import Progressed
from qplayground.core.quantizers.registry import available_methods
from qplayground.runtime.inside.survey import LayerSurvey
from qplayground.ui.charts.inside.layer_bars import LayerBars
from qplayground.ui.inside.layers.curve_box import DRAW_MS, CurveBox, progress_bar
from qplayground.ui.inside.layers.layers_table import LayersTable
from qplayground.ui.inside.saving import SaveButton
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import held, in_column, in_row, splitter

_PAUSED = "A comparison is running. Start this afterwards."
_STOPPED = "Stopped, because a comparison began. Start it again when that is over."


class LayersView(QWidget):
    """Owns the measurements of all layers. The error curve of one matrix is beside them.

    Signals: `module_chosen(str)`; `params_chosen(QuantizationParams)` when a point of the curve is clicked; `said(str)`
    for the status bar.
    """

    module_chosen = Signal(str)
    params_chosen = Signal(object)
    said = Signal(str)

    def __init__(self, curve: LayerSurvey, layers: LayerSurvey) -> None:
        super().__init__()
        self._layers_survey = layers
        self._path = ""
        self._obstacle = ""  # why the layers cannot be measured
        self._params = QuantizationParams()
        self._paused = False
        self._soon = QTimer(self, singleShot=True, interval=DRAW_MS)
        self._soon.timeout.connect(self._draw_bars)
        self.curve_box = CurveBox(curve)
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._show_state()

    def _make_widgets(self) -> None:
        self.start = QPushButton("&Measure all layers")
        self.cancel = QPushButton("Cancel")
        self.all_methods = QCheckBox("with e&very method")
        self.all_methods.setToolTip("Each method with this block size, and not the chosen one alone")
        self.progress = progress_bar("Progress over the layers")
        self.state = theme.small_label()
        self.state.setWordWrap(True)
        self.shown = QComboBox()
        self.shown.setAccessibleName("What the bars show")
        self.bars = LayerBars()
        self.table = LayersTable()
        self.save = SaveButton({"Error against bits": self.curve_box.curve, "Error of each layer": self.bars})

    def _lay_out(self) -> None:
        buttons = in_row(self.start, self.all_methods, self.progress, self.cancel, None, self.save, spacing=theme.GRID)
        said = in_row(self.state, self.shown, grows=self.state, spacing=-1)
        below = splitter(Qt.Orientation.Vertical, self.bars, self.table)
        right = held(in_column(buttons, said, below, grows=below, spacing=theme.HALF_GRID))
        across = splitter(Qt.Orientation.Horizontal, self.curve_box, right)
        across.setSizes([415, 535])
        in_column(across, within=self, spacing=-1, margins=(theme.GRID, theme.GRID, theme.GRID, theme.HALF_GRID))

    def _connect(self) -> None:
        layers = self._layers_survey
        layers.started.connect(self._show_state)
        layers.measured.connect(self._on_layer_measured)
        layers.progressed.connect(self._on_progressed)
        layers.succeeded.connect(self._on_succeeded)
        layers.failed.connect(lambda error: self.state.setText(str(error)))
        layers.cancelled.connect(lambda: self.state.setText("Cancelled."))
        layers.finished.connect(self._on_finished)
        self.start.clicked.connect(self._on_start)
        self.cancel.clicked.connect(layers.cancel)
        self.shown.currentIndexChanged.connect(self._draw_bars)
        self.curve_box.curve.picked.connect(self.params_chosen)
        for source in (self.bars.picked, self.table.module_chosen):
            source.connect(self.module_chosen)
        self.save.failed.connect(self.state.setText)
        self.save.said.connect(self.said)

    # ---- public methods --------------------------------------------------------------------------------------

    def show_model(self, path: str) -> None:
        """Discard the previous model's measurements."""
        self.curve_box.show_model(path)
        self._layers_survey.cancel()
        self._path, self._obstacle = path, ""
        self.table.clear()
        self.state.clear()
        self._offer_shown()
        self._draw_bars()
        self._show_state()

    def show_obstacle(self, reason: str) -> None:
        """Show why the model's layers cannot be measured; empty if they can."""
        self._obstacle = reason
        self.state.setText(reason)
        self._show_state()

    def show_module(self, module: str, obstacle: str) -> None:
        """Set the matrix of the curve. `obstacle`: why it cannot be measured, or that the module has none."""
        self.curve_box.show_module(module, obstacle)

    def show_params(self, params: QuantizationParams) -> None:
        """Set the parameters to measure with, and mark them on the curve."""
        self._params = params
        self.curve_box.show_params(params)
        self._show_state()

    def set_paused(self, paused: bool) -> None:
        """Pause measuring during a comparison. A running measurement of all layers is stopped."""
        self._paused = paused
        if paused:
            was_running = self._layers_survey.is_running
            self._layers_survey.cancel()
            if was_running:
                self.state.setText(_STOPPED)
        self.curve_box.set_paused(paused)
        self._show_state()

    # ---- all layers ------------------------------------------------------------------------------------------

    @Slot()
    def _on_start(self) -> None:
        choices = every_method(self._params) if self.all_methods.isChecked() else (self._params.checked(),)
        self.table.clear()
        self._offer_shown()
        self.state.setText("The weights are read layer by layer …")
        self.progress.setRange(0, 0)
        self._layers_survey.start(self._path, choices)

    @Slot(object)
    def _on_layer_measured(self, row: LayerRow) -> None:
        self.table.add_row(row)
        if self.shown.findText(row.params.label) < 0:
            self._offer_shown()
        if not self._soon.isActive():
            self._soon.start()

    @Slot(object)
    def _on_succeeded(self, left_out: tuple[LeftOut, ...]) -> None:
        count = len({row.module for row in self.table.rows})
        text = f"{count:,} layers were measured."
        if left_out:
            first = left_out[0]
            more = f" and {len(left_out) - 1:,} more" if len(left_out) > 1 else ""
            text += f" Left out: {first.module} ({first.reason}){more}."
        self.state.setText(text)
        self.state.setToolTip(theme.literal("\n".join(f"{one.module}: {one.reason}" for one in left_out)))

    @Slot()
    def _on_finished(self) -> None:
        self._show_state()
        self._draw_bars()

    def _offer_shown(self) -> None:
        labels = list(dict.fromkeys(row.params.label for row in self.table.rows))
        chosen = self.shown.currentText()
        with QSignalBlocker(self.shown):
            self.shown.clear()
            self.shown.addItems(labels)
            self.shown.setCurrentIndex(max(0, self.shown.findText(chosen)))
        self.shown.setVisible(len(labels) > 1)

    # ---- drawing ---------------------------------------------------------------------------------------------

    @Slot()
    def _draw_bars(self) -> None:
        label = self.shown.currentText()
        self.bars.show_rows([row for row in self.table.rows if row.params.label == label])

    @Slot()
    def _show_state(self) -> None:
        running = self._layers_survey.is_running
        self.progress.setVisible(running)
        self.cancel.setVisible(running)
        self.all_methods.setEnabled(not running and not self._obstacle)
        self.start.setEnabled(bool(self._path) and not running and not self._paused and not self._obstacle)
        tip = f"Quantize every layer: {self._params.checked().label}"
        self.start.setToolTip(theme.tip(self._obstacle or (_PAUSED if self._paused else tip)))
        if self._paused and not self.state.text():
            self.state.setText(_PAUSED)
        elif not self._paused and self.state.text() in (_PAUSED, _STOPPED):
            self.state.setText(self._obstacle)

    @Slot(object)
    def _on_progressed(self, event: Progressed) -> None:
        self.progress.setRange(0, max(1, event.total))
        self.progress.setValue(event.done)


def every_method(params: QuantizationParams) -> tuple[QuantizationParams, ...]:
    """`params`, then every other method with the same block size, if the method supports it."""
    fit = (each for each in available_methods() if not each.has_blocks or params.block_size in each.block_sizes)
    choices = (params, *(replace(params, method=method.name) for method in fit))
    return tuple(dict.fromkeys(choice.checked() for choice in choices))
