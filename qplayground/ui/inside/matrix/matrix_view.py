"""The Matrix tab: a weight matrix as an image, its histogram with the levels, its scales, and one weight in detail."""

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QLabel, QStackedWidget, QWidget

from qplayground.core.errors import ErrorInfo
from qplayground.core.inside import Matrix, ProbedWeight, QuantizationParams, QuantizedMatrix
from qplayground.runtime.inside.inspector import Inspector
from qplayground.ui.charts.inside.scales_plot import ScalesPlot, median_absmax
from qplayground.ui.charts.inside.weight_histogram import WeightHistogram
from qplayground.ui.inside.matrix.matrix_image import MatrixImage
from qplayground.ui.inside.matrix.matrix_texts import block_weights, blocks_text, matrix_title
from qplayground.ui.inside.matrix.params_box import ParamsBox
from qplayground.ui.inside.matrix.probe_text import probe_text
from qplayground.ui.inside.saving import SaveButton
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import held, in_column, in_row, selectable_label, splitter

_HINT = "Point at a weight to follow it, click to keep it, go on with the arrow keys."
_PAUSED = "A comparison is running. What you choose here is read afterwards."
_ABSMAX = "Absmax of every block"


class MatrixView(QWidget):
    """Binds the inspector's matrix to its charts. `has_matrix`: one is drawn, even if its engine has ended.

    Signals: `params_changed(QuantizationParams)`; `said(str)` for the status bar.
    """

    params_changed = Signal(object)
    said = Signal(str)

    def __init__(self, inspector: Inspector) -> None:
        super().__init__()
        self._inspector = inspector
        self._pinned: tuple[int, int] | None = None
        self._hovered: tuple[int, int] | None = None
        self._paused = False
        self._error = ""
        self.has_matrix = False
        self.title = selectable_label(wraps=False)
        self.title.setMinimumWidth(1)
        self.params = ParamsBox()
        self.message = selectable_label("What is wrong")
        self.message.setForegroundRole(QPalette.ColorRole.BrightText)
        self.message.hide()
        self.image = MatrixImage(inspector)
        self.heat = self.image.heat
        self.histogram = WeightHistogram()
        self.scales = ScalesPlot()
        self.probe = selectable_label("The way of one weight")
        self.probe.setText(_HINT)
        self.probe.setFont(theme.tabular(self.probe.font()))
        theme.follow_text(self.probe, lambda: self.probe.setMinimumHeight(2 * self.probe.fontMetrics().lineSpacing()))
        self.probe.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._build()
        self._connect()

    # ---- build -----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.scales_title = theme.small_label(_ABSMAX)
        self.scales_title.setWordWrap(True)
        weights_title = theme.small_label("Weights, levels of one block")
        beside = splitter(
            Qt.Orientation.Vertical,
            self._titled(weights_title, self.histogram, "Weights"),
            self._titled(self.scales_title, self.scales, "Absmax"),
        )
        self.across = splitter(Qt.Orientation.Horizontal, self.image, beside)
        self.across.setStretchFactor(0, 3)
        self.across.setStretchFactor(1, 2)
        self.across.setSizes([470, 310])
        self.nothing = selectable_label("Why there is no matrix")
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.nothing.setMargin(4 * theme.GRID)
        self._place = QStackedWidget()
        self._place.addWidget(held(in_column(self.across, self.probe, grows=self.across, spacing=theme.HALF_GRID)))
        self._place.addWidget(self.nothing)
        margins = (theme.GRID, theme.GRID, theme.GRID, theme.HALF_GRID)
        parts = (self.title, self.params, self.message, self._place)
        in_column(*parts, within=self, grows=self._place, spacing=theme.HALF_GRID, margins=margins)

    def _titled(self, title: QLabel, chart: WeightHistogram | ScalesPlot, name: str) -> QWidget:
        heading = in_row(title, self._told(SaveButton({name: chart})), grows=title, spacing=-1)
        return held(in_column(heading, chart, grows=chart, spacing=0))

    def _told(self, button: SaveButton) -> SaveButton:
        button.failed.connect(self._show_error)
        button.said.connect(self.said)
        return button

    def _connect(self) -> None:
        inspector = self._inspector
        inspector.opened.connect(self._on_opened)
        inspector.quantized.connect(self._on_quantized)
        inspector.probed.connect(self._on_probed)
        inspector.failed.connect(self._on_failed)
        inspector.busy_changed.connect(self._show_whose_figures)
        self.params.changed.connect(self._on_params_changed)
        self.params.worst_requested.connect(self.look_at)
        self.heat.hovered.connect(self._on_hovered)
        self.heat.left.connect(self._on_left)
        self.heat.clicked.connect(self._pin)
        self.heat.stepped.connect(self._on_stepped)
        self.scales.picked.connect(self._on_block_picked)
        self.image.went_to.connect(self.look_at)
        self.image.misunderstood.connect(self._show_error)
        self._told(self.image.save)

    # ---- public methods --------------------------------------------------------------------------------------

    def show_nothing(self, title: str = "", reason: str = "") -> None:
        """Remove the matrix. `title`: what is loading; `reason`: why nothing can be shown."""
        self.has_matrix = False
        self.nothing.setText(reason)
        self._place.setCurrentIndex(1 if reason else 0)
        self.title.setText(title)
        self.title.setToolTip(theme.literal(title))
        self._pinned = self._hovered = None
        for chart in (self.histogram, self.scales):
            chart.clear()
        self.scales_title.setText(_ABSMAX)
        self.probe.setText(_HINT)
        self.params.show_rest("")
        self.params.show_quantized(None)
        self._show_error("")
        self.image.show_nothing()

    def set_paused(self, paused: bool) -> None:
        """Show whether reading is paused during a comparison."""
        self._paused = paused
        self._show_message()

    @Slot(object)
    def turn(self, params: QuantizationParams) -> None:
        """Set the parameters and try them."""
        self.params.set_params(params)
        self._on_params_changed(params)

    @Slot(int, int)
    def look_at(self, row: int, column: int) -> None:
        """Zoom to a weight and pin it."""
        self.heat.look_at(row, column)
        self._pin(row, column)

    # ---- matrix ----------------------------------------------------------------------------------------------

    @Slot(object)
    def _on_opened(self, matrix: Matrix) -> None:
        self.show_nothing(matrix_title(matrix))
        self.has_matrix = True
        stored = matrix.stored
        self.params.set_params(self._inspector.params if stored is None else stored.params)
        self.params.show_rest(matrix.fixed_because)
        self.histogram.show_matrix(matrix)
        self.image.show_matrix(matrix)

    @Slot(object)
    def _on_quantized(self, quantized: QuantizedMatrix) -> None:
        matrix = self._inspector.matrix
        if matrix is None:
            return
        self._show_error("")
        self.params.show_quantized(quantized)
        self._show_whose_figures()
        size = block_weights(quantized.params, matrix)
        self.scales.show_scales(quantized.scales, size)
        together = quantized.scales.per_point
        self.scales_title.setText(
            f"Absmax by {together:,} blocks: the line their mean, pale the least to the largest"
            if together > 1
            else _ABSMAX
        )
        self._show_median_block()
        self.image.show_quantized(size if quantized.blocks > 1 else None)
        self._ask_for_probe()

    @Slot(object)
    def _on_failed(self, error: ErrorInfo) -> None:
        """Show the error above a drawn matrix. Without one, the window shows it in the picture's place."""
        if self.has_matrix:
            self._show_error(str(error))
        self._show_whose_figures()

    @Slot(str)
    def _show_error(self, sentence: str) -> None:
        self._error = sentence
        self._show_message()

    def _show_message(self) -> None:
        text = self._error or (_PAUSED if self._paused else "")
        self.message.setText(text)
        self.message.setVisible(bool(text))

    @Slot(object)
    def _on_params_changed(self, params: QuantizationParams) -> None:
        self._show_error("")
        self._inspector.set_params(params)
        self._show_whose_figures()
        self.params_changed.emit(params)

    @Slot()
    def _show_whose_figures(self) -> None:
        """Grey out figures that belong to other parameters, and omit their blocks from the title.

        This happens while the engine works or is paused, and after it refused the parameters.
        """
        inspector = self._inspector
        matrix, quantized = inspector.matrix, inspector.quantized_matrix
        of_these = (
            matrix is not None
            and quantized is not None
            and not inspector.is_busy
            and (bool(matrix.fixed_because) or quantized.params == inspector.params)
        )
        self.params.set_state(busy=inspector.is_busy, of_these=of_these)
        if matrix is not None:
            blocks = f" · {blocks_text(quantized)}" if quantized is not None and of_these else ""
            self.title.setText(f"{matrix_title(matrix)}{blocks}")
            self.title.setToolTip(theme.literal(self.title.text()))

    # ---- weight ----------------------------------------------------------------------------------------------

    @Slot(int, int)
    def _on_hovered(self, row: int, column: int) -> None:
        self._hovered = (row, column)
        self._ask_for_probe()

    @Slot()
    def _on_left(self) -> None:
        self._hovered = None
        if self._pinned is None:
            self.probe.setText(_HINT)
            self._show_median_block()
        else:
            self._ask_for_probe()

    @Slot(int, int)
    def _pin(self, row: int, column: int) -> None:
        self._pinned, self._hovered = (row, column), None
        self.heat.mark(row, column)
        self._ask_for_probe()

    @Slot(int, int)
    def _on_stepped(self, rows: int, columns: int) -> None:
        matrix, start = self._inspector.matrix, self._hovered or self._pinned
        if matrix is None:
            return
        row, column = start or self.heat.middle()
        row = min(max(0, row + rows), matrix.rows - 1)
        column = min(max(0, column + columns), matrix.columns - 1)
        self.heat.keep_in_view(row, column)
        self._pin(row, column)

    @Slot(int)
    def _on_block_picked(self, block: int) -> None:
        matrix, quantized = self._inspector.matrix, self._inspector.quantized_matrix
        if matrix is not None and quantized is not None:
            self.look_at(*divmod(block * block_weights(quantized.params, matrix), matrix.columns))

    def _ask_for_probe(self) -> None:
        wanted = self._hovered or self._pinned
        if wanted is not None and self._inspector.quantized_matrix is not None:
            self._inspector.probe(*wanted)

    @Slot(object)
    def _on_probed(self, weight: ProbedWeight) -> None:
        matrix = self._inspector.matrix
        if matrix is None or (weight.row, weight.column) != (self._hovered or self._pinned):
            return
        self.probe.setText(probe_text(weight, matrix.columns))
        self.histogram.show_block(weight.absmax, weight.block_values)
        self.scales.mark(weight.block)

    def _show_median_block(self) -> None:
        quantized = self._inspector.quantized_matrix
        if quantized is not None:
            absmax = median_absmax(quantized.scales)
            self.histogram.show_levels(quantized.levels, absmax, quantized.usage, quantized.first_code)
            self.scales.mark(None)
