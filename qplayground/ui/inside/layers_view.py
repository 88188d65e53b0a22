"""The Layers tab: what every method and block size costs the chosen matrix, and what one costs every layer."""

from msgspec.structs import replace
from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QPalette, QShowEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from qplayground.core.errors import ErrorInfo
from qplayground.core.inside import BLOCK_SIZES, Knobs, LayerRow, LeftOut, Method
from qplayground.core.messages.events import Progressed
from qplayground.runtime.inside.survey import LayerSurvey
from qplayground.ui import theme
from qplayground.ui.inside.layers_table import LayersTable
from qplayground.ui.inside.saving import SaveButton
from qplayground.ui.plots.error_curve import ErrorCurve
from qplayground.ui.plots.layer_bars import LayerBars

_DRAW_MS = 150
_DOUBLE = (Method.NF4, Method.FP4)
"""Those for which bitsandbytes offers double quantization in a model."""
_HELD_BACK = "A comparison runs. Start this when it is over."
_STOPPED = "Stopped, because a comparison began. Start it again when that is over."


class LayersView(QWidget):
    """Owns what two surveys gave; `curve` is of one matrix, `layers` of the whole model.

    Signals: `module_chosen(str)`; `knobs_chosen(Knobs)` when a point of the curve was clicked; `said(str)`.
    """

    module_chosen = Signal(str)
    knobs_chosen = Signal(object)
    said = Signal(str)

    def __init__(self, curve: LayerSurvey, layers: LayerSurvey, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._curve_survey = curve
        self._layers_survey = layers
        self._path = ""
        self._module = ""
        self._rests = ""
        self._obstacle = ""  # why not all layers can be measured
        self._knobs = Knobs()
        self._measured_for: tuple[str, str] | None = None  # path and module of the curve that is there, or comes
        self._choices: tuple[Knobs, ...] = ()  # of that curve
        self._curve_rows: list[LayerRow] = []
        self._held_back = False
        self._soon = QTimer(self, singleShot=True, interval=_DRAW_MS)
        self._soon.timeout.connect(self._draw)
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._show_state()

    def _make_widgets(self) -> None:
        self.curve = ErrorCurve()
        self.curve_title = self._label()
        self.curve_state = self._label(small=True)
        self.curve_state.setWordWrap(True)
        self.curve_progress = self._progress("Progress of the curve")
        self.start = QPushButton("&Measure all layers")
        self.cancel = QPushButton("Cancel")
        self.all_methods = QCheckBox("with e&very method")
        self.all_methods.setToolTip("Each method with this block size, and not the chosen one alone")
        self.progress = self._progress("Progress over the layers")
        self.state = self._label(small=True)
        self.state.setWordWrap(True)
        self.shown = QComboBox()
        self.shown.setAccessibleName("What the bars show")
        self.bars = LayerBars()
        self.table = LayersTable()
        self.save = SaveButton({"Error against bits": self.curve, "Error of each layer": self.bars})

    def _label(self, *, small: bool = False) -> QLabel:
        label = QLabel(textFormat=Qt.TextFormat.PlainText)
        label.setMinimumWidth(1)
        if small:
            label.setFont(theme.small(label.font()))
            label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        return label

    def _progress(self, name: str) -> QProgressBar:
        bar = QProgressBar()
        bar.setAccessibleName(name)
        bar.setFixedWidth(12 * theme.GRID)
        bar.hide()
        return bar

    def _lay_out(self) -> None:
        left, right = QWidget(), QWidget()
        heading = QHBoxLayout()
        heading.addWidget(self.curve_title, 1)
        heading.addWidget(self.curve_progress)
        curve_said = QHBoxLayout()
        curve_said.addWidget(self.curve_state)
        self._column(left, heading, curve_said, self.curve)
        buttons = QHBoxLayout()
        buttons.setSpacing(theme.GRID)
        for control in (self.start, self.all_methods, self.progress, self.cancel):
            buttons.addWidget(control)
        buttons.addStretch()
        buttons.addWidget(self.save)
        said = QHBoxLayout()
        said.addWidget(self.state, 1)
        said.addWidget(self.shown)
        below = QSplitter(Qt.Orientation.Vertical)
        below.setChildrenCollapsible(False)
        below.addWidget(self.bars)
        below.addWidget(self.table)
        self._column(right, buttons, said, below)
        across = QSplitter(Qt.Orientation.Horizontal)
        across.setChildrenCollapsible(False)
        for side in (left, right):
            across.addWidget(side)
        across.setSizes([400, 550])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.GRID, theme.GRID, theme.GRID, theme.HALF_GRID)
        layout.addWidget(across)

    def _column(self, box: QWidget, first: QHBoxLayout, second: QHBoxLayout, rest: QWidget) -> None:
        column = QVBoxLayout(box)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.HALF_GRID)
        column.addLayout(first)
        column.addLayout(second)
        column.addWidget(rest, 1)

    def _connect(self) -> None:
        curve, layers = self._curve_survey, self._layers_survey
        curve.measured.connect(self._on_curve_measured)
        curve.succeeded.connect(self._on_curve_succeeded)
        curve.failed.connect(self._on_curve_failed)
        curve.finished.connect(self._on_curve_finished)
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
        self.curve.picked.connect(self.knobs_chosen)
        for source in (self.bars.picked, self.table.module_chosen):
            source.connect(self.module_chosen)
        self.save.failed.connect(lambda error: self.state.setText(str(error)))
        self.save.saved.connect(lambda path: self.said.emit(f"Saved as {path}"))

    # ---- what others ask of it -------------------------------------------------------------------------------

    def show_model(self, path: str) -> None:
        """Forget the model before."""
        self._curve_survey.cancel()
        self._layers_survey.cancel()
        self._path, self._module, self._rests, self._obstacle = path, "", "", ""
        self._measured_for = None
        self._curve_rows.clear()
        self.table.show_rows(())
        self.state.clear()
        self._offer_shown()
        self._draw()
        self._show_state()

    def show_obstacle(self, reason: str) -> None:
        """Say why the model's layers cannot be measured; empty where they can."""
        self._obstacle = reason
        self.state.setText(reason)
        self._show_state()

    def show_module(self, module: str, rests: str = "") -> None:
        """Be about that matrix; `rests` says why nothing can be tried on it, or that it is none."""
        self._module, self._rests = module, rests
        self._measure_curve()

    def show_knobs(self, knobs: Knobs) -> None:
        """Mark these on the curve, and measure with these."""
        self._knobs = knobs
        self.curve.show_current(knobs)
        if self._measured_for is not None and knobs.checked() not in self._choices:
            self._measured_for = None  # of another type, and the whole curve is measured in that
            self._measure_curve()
        self._show_state()

    def hold_back(self, hold: bool) -> None:
        """While something is timed nothing is measured; what was being measured is stopped."""
        self._held_back = hold
        if hold:
            was_running = self._layers_survey.is_running
            self._layers_survey.cancel()
            if self._curve_survey.is_running:
                self._measured_for = None
                self.curve_state.setText(_HELD_BACK)
            self._curve_survey.cancel()
            if was_running:
                self.state.setText(_STOPPED)
        else:
            self._measure_curve()
        self._show_state()

    def showEvent(self, event: QShowEvent) -> None:
        """The curve is measured when it is looked at."""
        super().showEvent(event)
        self._measure_curve()

    # ---- the curve of one matrix -----------------------------------------------------------------------------

    def _measure_curve(self) -> None:
        self.curve_title.setText(self._module or "Choose a module in the tree.")
        self.curve_title.setToolTip(theme.literal(self._module))
        wanted = (self._path, self._module)
        if not (self._module or self._rests) or not self.isVisible() or wanted == self._measured_for:
            return
        self._curve_survey.cancel()
        self._measured_for = None
        self._curve_rows.clear()
        self._draw()
        if self._rests or self._held_back:
            self.curve_state.setText(self._rests or _HELD_BACK)
            return
        self._measured_for = wanted
        self.curve_state.setText("Every method and block size is measured …")
        self.curve_progress.show()
        self._choices = every_choice(self._knobs)
        self._curve_survey.start(self._path, self._choices, (self._module,))
        self.curve_progress.setRange(0, len(self._choices))
        self.curve_progress.setValue(0)

    @Slot(object)
    def _on_curve_measured(self, row: LayerRow) -> None:
        self._curve_rows.append(row)
        self.curve_progress.setValue(len(self._curve_rows))
        if not self._soon.isActive():
            self._soon.start()

    @Slot(object)
    def _on_curve_succeeded(self, left_out: tuple[LeftOut, ...]) -> None:
        reasons = sorted({one.reason for one in left_out})
        text = "The ring is the knobs' choice. Click a point to try it; hollow is with double quantization."
        self.curve_state.setText(f"Not measured: {' '.join(reasons)}" if reasons else text)
        self.curve_state.setToolTip(theme.literal(self.curve_state.text()))

    @Slot(object)
    def _on_curve_failed(self, error: ErrorInfo) -> None:
        self._measured_for = None
        self.curve_state.setText(str(error))
        self.curve_state.setToolTip(theme.literal(str(error)))

    @Slot()
    def _on_curve_finished(self) -> None:
        self.curve_progress.hide()
        self._draw()

    # ---- all layers ------------------------------------------------------------------------------------------

    @Slot()
    def _on_start(self) -> None:
        choices = every_method(self._knobs) if self.all_methods.isChecked() else (self._knobs.checked(),)
        self.table.show_rows(())
        self._offer_shown()
        self.state.setText("The weights are read layer by layer …")
        self.progress.setRange(0, 0)
        self._layers_survey.start(self._path, choices)

    @Slot(object)
    def _on_layer_measured(self, row: LayerRow) -> None:
        self.table.add_row(row)
        if self.shown.findText(row.knobs.label) < 0:
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
        self._draw()

    def _offer_shown(self) -> None:
        labels = list(dict.fromkeys(row.knobs.label for row in self.table.rows))
        chosen = self.shown.currentText()
        self.shown.blockSignals(True)
        self.shown.clear()
        self.shown.addItems(labels)
        self.shown.setCurrentIndex(max(0, self.shown.findText(chosen)))
        self.shown.blockSignals(False)
        self.shown.setVisible(len(labels) > 1)

    # ---- drawing ---------------------------------------------------------------------------------------------

    @Slot()
    def _draw(self) -> None:
        self.curve.show_rows(self._curve_rows, self._knobs)
        self._draw_bars()

    @Slot()
    def _draw_bars(self) -> None:
        label = self.shown.currentText()
        self.bars.show_rows([row for row in self.table.rows if row.knobs.label == label])

    @Slot()
    def _show_state(self) -> None:
        running = self._layers_survey.is_running
        self.progress.setVisible(running)
        self.cancel.setVisible(running)
        self.all_methods.setEnabled(not running and not self._obstacle)
        self.start.setEnabled(bool(self._path) and not running and not self._held_back and not self._obstacle)
        tip = f"Quantize every layer: {self._knobs.checked().label}"
        self.start.setToolTip(theme.tip(self._obstacle or (_HELD_BACK if self._held_back else tip)))
        if self._held_back and not self.state.text():
            self.state.setText(_HELD_BACK)
        elif not self._held_back and self.state.text() in (_HELD_BACK, _STOPPED):
            self.state.setText(self._obstacle)

    @Slot(object)
    def _on_progressed(self, event: Progressed) -> None:
        self.progress.setRange(0, max(1, event.total))
        self.progress.setValue(event.done)


def every_choice(knobs: Knobs) -> tuple[Knobs, ...]:
    """All methods and block sizes, in the type of these knobs; they themselves are among them."""
    sizes = (*BLOCK_SIZES, None)
    found = [replace(knobs, method=Method.INT8, double_quant=False)]
    for method in Method:
        if method.has_blocks:
            doubles = (False, True) if method in _DOUBLE else (False,)
            found += [
                replace(knobs, method=method, block_size=size, double_quant=double)
                for double in doubles
                for size in sizes
            ]
    return tuple(dict.fromkeys(choice.checked() for choice in (*found, knobs)))


def every_method(knobs: Knobs) -> tuple[Knobs, ...]:
    """Each method with this block size, and these knobs as they are first."""
    return tuple(
        dict.fromkeys(choice.checked() for choice in (knobs, *(replace(knobs, method=each) for each in Method)))
    )
