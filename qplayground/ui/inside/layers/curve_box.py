"""What every method and block size costs the chosen matrix, as a curve that is measured when it is looked at."""

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
"""Between two drawings of what comes row by row."""
_PAUSED = "A comparison is running. This is measured afterwards."


class CurveBox(QWidget):
    """Owner of one matrix's curve: which matrix it is of, and what was measured. `curve` is the chart."""

    def __init__(self, survey: LayerSurvey) -> None:
        super().__init__()
        self._survey = survey
        self._path = ""
        self._module = ""
        self._obstacle = ""
        self._params = QuantizationParams()
        self._measured_for: tuple[str, str] | None = None  # path and module of the curve that is there, or comes
        self._choices: tuple[QuantizationParams, ...] = ()  # of that curve
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

    # ---- what others ask of it -------------------------------------------------------------------------------

    def show_model(self, path: str) -> None:
        """Forget the model before."""
        self._survey.cancel()
        self._path, self._module, self._obstacle = path, "", ""
        self._measured_for = None
        self.rows.clear()
        self._draw()

    def show_module(self, module: str, obstacle: str) -> None:
        """Be about that matrix; `obstacle` says why nothing can be tried on it, or that it is none."""
        self._module, self._obstacle = module, obstacle
        self._measure()

    def show_params(self, params: QuantizationParams) -> None:
        """Mark these on the curve."""
        self._params = params
        self.curve.show_current(params)
        if self._measured_for is not None and params.checked() not in self._choices:
            self._measured_for = None  # of another type, and the whole curve is measured in that
            self._measure()

    def set_paused(self, paused: bool) -> None:
        """While something is timed nothing is measured; what was being measured is, afterwards."""
        self._paused = paused
        if paused:
            if self._survey.is_running:
                self._measured_for = None
                self.state.setText(_PAUSED)
            self._survey.cancel()
        else:
            self._measure()

    def showEvent(self, event: QShowEvent) -> None:
        """It is measured when it is looked at."""
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
    """All methods and block sizes, in the type of these parameters; they themselves are among them.

    What has a scale a row comes first, since it is quick. Contrasts are not doubled.
    """
    found = [
        replace(params, method=method.name, block_size=size, double_quant=double)
        for method in sorted(available_methods(), key=lambda method: method.has_blocks)
        for double in ((False, True) if method.double and not method.is_contrast else (False,))
        for size in method.block_sizes or (None,)
    ]
    return tuple(dict.fromkeys(choice.checked() for choice in (*found, params)))


def progress_bar(name: str) -> QProgressBar:
    """A narrow one, hidden until there is progress."""
    bar = QProgressBar()
    bar.setAccessibleName(name)
    bar.setFixedWidth(12 * theme.GRID)
    bar.hide()
    return bar
