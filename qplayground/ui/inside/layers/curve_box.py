"""The error curve of the chosen matrix over all methods and block sizes. Measured when it becomes visible."""

from msgspec.structs import replace
from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QLabel, QProgressBar, QWidget

from qplayground.core.errors import ErrorInfo
from qplayground.core.inside import LayerRow, LeftOut, QuantizationParams
from qplayground.core.quantizers.registry import available_methods
from qplayground.runtime.inside.survey import LayerSurvey
from qplayground.ui.charts.inside.error_curve import ErrorCurve
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import in_column, in_row

DRAW_MS = 150
"""Minimum interval between redraws while rows arrive."""
_PAUSED = "A comparison is running. This is measured afterwards."


class CurveBox(QWidget):
    """Owns the error curve of one matrix and its measurements. `curve` is the chart."""

    def __init__(self, survey: LayerSurvey) -> None:
        super().__init__()
        self._survey = survey
        self._path = ""
        self._module = ""
        self._obstacle = ""
        self._params = QuantizationParams()
        self._measured_for: tuple[str, str] | None = None  # path and module of the measured or running curve
        self._choices: tuple[QuantizationParams, ...] = ()  # measured for that curve
        self._paused = False
        self.rows: list[LayerRow] = []
        self._soon = QTimer(self, singleShot=True, interval=DRAW_MS)
        self._soon.timeout.connect(self._draw)
        self.curve = ErrorCurve()
        self.title = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.title.setMinimumWidth(1)
        self.state = theme.small_label()
        self.state.setWordWrap(True)
        self.progress = progress_bar("Progress of the curve")
        heading = in_row(self.title, self.progress, grows=self.title, spacing=-1)
        in_column(heading, self.state, self.curve, within=self, grows=self.curve, spacing=theme.HALF_GRID)
        survey.measured.connect(self._on_measured)
        survey.succeeded.connect(self._on_succeeded)
        survey.failed.connect(self._on_failed)
        survey.finished.connect(self._on_finished)

    # ---- public methods --------------------------------------------------------------------------------------

    def show_model(self, path: str) -> None:
        """Discard the previous model's curve."""
        self._survey.cancel()
        self._path, self._module, self._obstacle = path, "", ""
        self._measured_for = None
        self.rows.clear()
        self._draw()

    def show_module(self, module: str, obstacle: str) -> None:
        """Set the matrix. `obstacle`: why it cannot be measured, or that the module has none."""
        self._module, self._obstacle = module, obstacle
        self._measure()

    def show_params(self, params: QuantizationParams) -> None:
        """Mark these parameters on the curve."""
        self._params = params
        self.curve.show_current(params)
        if self._measured_for is not None and params.checked() not in self._choices:
            self._measured_for = None  # another dtype: the curve must be measured again
            self._measure()

    def set_paused(self, paused: bool) -> None:
        """Pause measuring during a comparison. A measurement that was running is repeated afterwards."""
        self._paused = paused
        if paused:
            if self._survey.is_running:
                self._measured_for = None
                self.state.setText(_PAUSED)
            self._survey.cancel()
        else:
            self._measure()

    def showEvent(self, event: QShowEvent) -> None:
        """Start measuring when the curve becomes visible."""
        super().showEvent(event)
        self._measure()

    # ---- measuring -------------------------------------------------------------------------------------------

    def _measure(self) -> None:
        self.title.setText(self._module or "Choose a module in the tree.")
        self.title.setToolTip(theme.literal(self._module))
        wanted = (self._path, self._module)
        if not (self._module or self._obstacle) or not self.isVisible() or wanted == self._measured_for:
            return
        self._survey.cancel()
        self._measured_for = None
        self.rows.clear()
        self._draw()
        if self._obstacle or self._paused:
            self.state.setText(self._obstacle or _PAUSED)
            return
        self._measured_for = wanted
        self.state.setText("Every method and block size is measured …")
        self.progress.show()
        self._choices = every_choice(self._params)
        self._survey.start(self._path, self._choices, (self._module,))
        self.progress.setRange(0, len(self._choices))
        self.progress.setValue(0)

    @Slot(object)
    def _on_measured(self, row: LayerRow) -> None:
        self.rows.append(row)
        self.progress.setValue(len(self.rows))
        if not self._soon.isActive():
            self._soon.start()

    @Slot(object)
    def _on_succeeded(self, left_out: tuple[LeftOut, ...]) -> None:
        reasons = sorted({one.reason for one in left_out})
        text = "The ring is the parameters' choice. Click a point to try it; hollow is with double quantization."
        self.state.setText(f"Not measured: {' '.join(reasons)}" if reasons else text)
        self.state.setToolTip(theme.literal(self.state.text()))

    @Slot(object)
    def _on_failed(self, error: ErrorInfo) -> None:
        self._measured_for = None
        self.state.setText(str(error))
        self.state.setToolTip(theme.literal(str(error)))

    @Slot()
    def _on_finished(self) -> None:
        self.progress.hide()
        self._draw()

    @Slot()
    def _draw(self) -> None:
        self.curve.show_rows(self.rows, self._params)


def every_choice(params: QuantizationParams) -> tuple[QuantizationParams, ...]:
    """All methods and block sizes in the dtype of `params`, including `params`.

    Methods with a scale per row come first, because they are fast. Contrast methods get no double quantization.
    """
    found = [
        replace(params, method=method.name, block_size=size, double_quant=double)
        for method in sorted(available_methods(), key=lambda method: method.has_blocks)
        for double in ((False, True) if method.double and not method.is_contrast else (False,))
        for size in method.block_sizes or (None,)
    ]
    return tuple(dict.fromkeys(choice.checked() for choice in (*found, params)))


def progress_bar(name: str) -> QProgressBar:
    """A narrow progress bar, hidden until there is progress."""
    bar = QProgressBar()
    bar.setAccessibleName(name)
    bar.setFixedWidth(12 * theme.GRID)
    bar.hide()
    return bar
