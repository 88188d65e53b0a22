"""The Matrix tab: one weight matrix as an image, its values with their levels, its scales, and one weight's way."""

import math

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QRadioButton,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from qplayground.core.errors import ErrorInfo
from qplayground.core.inside import Knobs, Matrix, Picture, ProbedWeight, QuantizedMatrix, Tile
from qplayground.core.units import significant
from qplayground.runtime.inside.inspector import Inspector
from qplayground.ui import theme
from qplayground.ui.inside.knobs_box import KnobsBox
from qplayground.ui.inside.matrix_texts import block_weights, blocks_text, matrix_title
from qplayground.ui.inside.probe_text import probe_text
from qplayground.ui.inside.saving import SaveButton
from qplayground.ui.plots.code_scale import CodeScale
from qplayground.ui.plots.heat_map import HeatMap
from qplayground.ui.plots.scales_plot import ScalesPlot, median_absmax
from qplayground.ui.plots.weight_histogram import WeightHistogram

_TITLES = {
    Picture.ORIGINAL: ("&As it is", "The weights of the checkpoint"),
    Picture.CODES: ("&Codes", "What is stored for each weight"),
    Picture.DEQUANTIZED: ("Bac&k again", "What each code stands for: level × absmax of its block"),
    Picture.ERROR: ("&Error", "What comes back, less what was there"),
}
_SIGMAS = 4.0
"""Standard deviations at which colours are full, where the largest value is farther out."""
_HINT = "Point at a weight to follow it, click to keep it, go on with the arrow keys."
_HELD_BACK = "A comparison runs. What is chosen here meanwhile is read when it is over."

_Question = tuple[Picture, int, int, int, int, int, int]


class MatrixView(QWidget):
    """Binds the inspector's matrix to its pictures. Signal: `knobs_changed(Knobs)`; `said(str)` for the status bar."""

    knobs_changed = Signal(object)
    said = Signal(str)

    def __init__(self, inspector: Inspector, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._inspector = inspector
        self._picture = Picture.ORIGINAL
        self._overview_is_true = False
        self._asked: _Question | None = None
        self._answered: _Question | None = None
        self._pinned: tuple[int, int] | None = None
        self._hovered: tuple[int, int] | None = None
        self._held_back = False
        self._error = ""
        self._has_matrix = False
        self.title = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.title.setMinimumWidth(1)
        self.title.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.knobs = KnobsBox()
        self.message = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.message.setWordWrap(True)
        self.message.setForegroundRole(QPalette.ColorRole.BrightText)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.message.setAccessibleName("What is wrong")
        self.message.hide()
        self.heat = HeatMap()
        self.histogram = WeightHistogram()
        self.scales = ScalesPlot()
        self.legend = self._small()
        self.legend.setWordWrap(True)
        self.legend.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.legend.setFixedHeight(2 * self.legend.fontMetrics().lineSpacing())
        self.probe = QLabel(_HINT, textFormat=Qt.TextFormat.PlainText)
        self.probe.setFont(theme.tabular(self.probe.font()))
        self.probe.setWordWrap(True)
        self.probe.setMinimumHeight(2 * self.fontMetrics().lineSpacing())
        self.probe.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.probe.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.probe.setAccessibleName("The way of one weight")
        self._build()
        self._connect()
        self._show_pictures()

    def _small(self, text: str = "") -> QLabel:
        label = QLabel(text, textFormat=Qt.TextFormat.PlainText)
        label.setFont(theme.tabular(theme.small(label.font())))
        label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        label.setMinimumWidth(1)
        return label

    # ---- build -----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        beside = QSplitter(Qt.Orientation.Vertical)
        beside.setChildrenCollapsible(False)
        beside.addWidget(self._titled("Weights, levels of one block", self.histogram, "Weights"))
        beside.addWidget(self._titled("Absmax of every block", self.scales, "Absmax"))
        self.across = QSplitter(Qt.Orientation.Horizontal)
        self.across.setChildrenCollapsible(False)
        self.across.addWidget(self._build_image())
        self.across.addWidget(beside)
        self.across.setStretchFactor(0, 3)
        self.across.setStretchFactor(1, 2)
        self.across.setSizes([470, 310])
        self.nothing = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.nothing.setWordWrap(True)
        self.nothing.setMargin(4 * theme.GRID)
        self.nothing.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.nothing.setAccessibleName("Why there is no matrix")
        body = QWidget()
        inside = QVBoxLayout(body)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(theme.HALF_GRID)
        inside.addWidget(self.across, 1)
        inside.addWidget(self.probe)
        self._place = QStackedWidget()
        self._place.addWidget(body)
        self._place.addWidget(self.nothing)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.GRID, theme.GRID, theme.GRID, theme.HALF_GRID)
        layout.setSpacing(theme.HALF_GRID)
        for widget in (self.title, self.knobs, self.message):
            layout.addWidget(widget)
        layout.addWidget(self._place, 1)

    def _build_image(self) -> QWidget:
        self.pictures: dict[Picture, QRadioButton] = {}
        row = QHBoxLayout()
        row.setSpacing(theme.HALF_GRID)
        for picture, (text, tip) in _TITLES.items():
            button = QRadioButton(text)
            button.setToolTip(tip)
            button.setChecked(picture is self._picture)
            button.toggled.connect(self._on_picture_toggled)
            self.pictures[picture] = button
            row.addWidget(button)
        row.addStretch()
        self.go_to = QLineEdit()
        self.go_to.setPlaceholderText("row, column")
        self.go_to.setAccessibleName("Go to a row and column")
        self.go_to.setToolTip("Go to that weight (Return)")
        self.go_to.setFixedWidth(12 * theme.GRID)
        self.whole = QToolButton()
        self.whole.setText("Whole")
        self.whole.setToolTip("Show the whole matrix")
        row.addWidget(self.go_to)
        row.addWidget(self.whole)
        row.addWidget(self._save_button(self.heat, "Matrix"))
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.HALF_GRID)
        column.addLayout(row)
        column.addWidget(self.heat, 1)
        column.addWidget(self.legend)
        return left

    def _titled(self, title: str, chart: WeightHistogram | ScalesPlot, name: str) -> QWidget:
        row = QHBoxLayout()
        row.addWidget(self._small(title), 1)
        row.addWidget(self._save_button(chart, name))
        box = QWidget()
        column = QVBoxLayout(box)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(row)
        column.addWidget(chart, 1)
        return box

    def _save_button(self, chart: HeatMap | WeightHistogram | ScalesPlot, name: str) -> SaveButton:
        button = SaveButton({name: chart})
        button.failed.connect(lambda error: self._show_error(str(error)))
        button.saved.connect(lambda path: self.said.emit(f"Saved as {path}"))
        return button

    def _connect(self) -> None:
        inspector = self._inspector
        inspector.opened.connect(self._on_opened)
        inspector.quantized.connect(self._on_quantized)
        inspector.tile_read.connect(self._on_tile_read)
        inspector.probed.connect(self._on_probed)
        inspector.failed.connect(self._on_failed)
        inspector.busy_changed.connect(self._show_whose_figures)
        self.knobs.changed.connect(self._on_knobs_changed)
        self.knobs.worst_requested.connect(self.look_at)
        self.heat.settled.connect(self._ask_for_tile)
        self.heat.hovered.connect(self._on_hovered)
        self.heat.left.connect(self._on_left)
        self.heat.clicked.connect(self._pin)
        self.heat.stepped.connect(self._on_stepped)
        self.scales.picked.connect(self._on_block_picked)
        self.go_to.returnPressed.connect(self._on_go_to)
        self.whole.clicked.connect(self.heat.show_whole)

    # ---- what others ask of it -------------------------------------------------------------------------------

    @property
    def picture(self) -> Picture:
        """The one that is chosen."""
        return self._picture

    @property
    def has_matrix(self) -> bool:
        """Whether one is drawn; its engine may be gone."""
        return self._has_matrix

    def show_nothing(self, title: str = "", reason: str = "") -> None:
        """Forget the matrix that is shown; `title` says what is on its way, `reason` why nothing is."""
        self._has_matrix = False
        self.nothing.setText(reason)
        self._place.setCurrentIndex(1 if reason else 0)
        self.title.setText(title)
        self.title.setToolTip(theme.literal(title))
        self._overview_is_true = False
        self._asked = self._answered = self._pinned = self._hovered = None
        for chart in (self.heat, self.histogram, self.scales):
            chart.clear()
        self.legend.clear()
        self.probe.setText(_HINT)
        self.knobs.show_rest("")
        self.knobs.show_quantized(None)
        self._show_error("")
        self._show_pictures()

    def hold_back(self, hold: bool) -> None:
        """Say that nothing is read while something is timed."""
        self._held_back = hold
        self._show_message()

    @Slot(object)
    def turn(self, knobs: Knobs) -> None:
        """Turn the knobs so, and try them."""
        self.knobs.set_knobs(knobs)
        self._on_knobs_changed(knobs)

    @Slot(int, int)
    def look_at(self, row: int, column: int) -> None:
        """Show that weight from close by, and follow it."""
        self.heat.look_at(row, column)
        self._pin(row, column)

    # ---- the matrix ------------------------------------------------------------------------------------------

    @Slot(object)
    def _on_opened(self, matrix: Matrix) -> None:
        self.show_nothing(matrix_title(matrix))
        self._has_matrix = True
        stored = matrix.stored
        self.knobs.set_knobs(self._inspector.knobs if stored is None else stored.knobs)
        self.knobs.show_rest(matrix.knobs_rest)
        self.heat.show_matrix(matrix.rows, matrix.columns)
        self.histogram.show_matrix(matrix)
        self._show_pictures()
        self._ask_for_tile()

    @Slot(object)
    def _on_quantized(self, quantized: QuantizedMatrix) -> None:
        matrix = self._inspector.matrix
        if matrix is None:
            return
        self._show_error("")
        self.knobs.show_quantized(quantized)
        self._show_whose_figures()
        size = block_weights(quantized.knobs, matrix)
        self.heat.show_blocks(size if quantized.blocks > 1 else None)
        self.scales.show_scales(quantized.scales, size)
        self._show_median_block()
        self._show_pictures()
        if self._picture is not Picture.ORIGINAL:
            self._overview_is_true = False
            self._answered = None
        self._ask_for_tile()
        self._ask_for_probe()

    @Slot(object)
    def _on_failed(self, error: ErrorInfo) -> None:
        """Where nothing is drawn the window says it, in the picture's place."""
        self._asked = None
        if self._has_matrix:
            self._show_error(str(error))
        self._show_whose_figures()

    @Slot(str)
    def _show_error(self, sentence: str) -> None:
        self._error = sentence
        self._show_message()

    def _show_message(self) -> None:
        text = self._error or (_HELD_BACK if self._held_back else "")
        self.message.setText(text)
        self.message.setVisible(bool(text))

    @Slot(object)
    def _on_knobs_changed(self, knobs: Knobs) -> None:
        self._show_error("")
        self._inspector.set_knobs(knobs)
        self._show_whose_figures()
        self.knobs_changed.emit(knobs)

    @Slot()
    def _show_whose_figures(self) -> None:
        """Figures of other knobs than those that are set are grey, and the title leaves their blocks out.

        They are while the engine works or holds back, and after it refused what was set.
        """
        inspector = self._inspector
        matrix, quantized = inspector.matrix, inspector.quantized_matrix
        of_these = (
            matrix is not None
            and quantized is not None
            and not inspector.is_busy
            and (bool(matrix.knobs_rest) or quantized.knobs == inspector.knobs)
        )
        self.knobs.set_state(busy=inspector.is_busy, of_these=of_these)
        if matrix is not None:
            blocks = f" · {blocks_text(quantized)}" if quantized is not None and of_these else ""
            self.title.setText(f"{matrix_title(matrix)}{blocks}")
            self.title.setToolTip(theme.literal(self.title.text()))

    # ---- pictures --------------------------------------------------------------------------------------------

    def _show_pictures(self) -> None:
        """Offer those that there are."""
        quantized = self._inspector.quantized_matrix
        for picture, button in self.pictures.items():
            has_error = quantized is not None and quantized.figures is not None
            there = picture is Picture.ORIGINAL or (has_error if picture is Picture.ERROR else quantized is not None)
            button.setEnabled(there or (quantized is None and picture is self._picture))

    @Slot(bool)
    def _on_picture_toggled(self, checked: bool) -> None:
        if not checked:
            return
        self._picture = next(picture for picture, button in self.pictures.items() if button.isChecked())
        self._overview_is_true = False
        self._answered = None
        self._ask_for_tile()

    @Slot()
    def _ask_for_tile(self) -> None:
        """Ask for what is missing: the whole first, then, if it is not sharp enough, the part in view."""
        matrix, quantized = self._inspector.matrix, self._inspector.quantized_matrix
        if matrix is None or (quantized is None and self._picture is not Picture.ORIGINAL):
            return
        if not self._pictures_here(quantized):
            self.pictures[Picture.ORIGINAL].setChecked(True)
            return
        if not self._overview_is_true:
            question = (self._picture, 0, matrix.rows, 0, matrix.columns, *self.heat.pixels())
        elif self.heat.needs_detail:
            question = (self._picture, *self.heat.seen(), *self.heat.pixels())
        else:
            return
        if question not in (self._asked, self._answered):
            self._asked = question
            self._inspector.read_tile(*question)

    def _pictures_here(self, quantized: QuantizedMatrix | None) -> bool:
        return self._picture is not Picture.ERROR or (quantized is not None and quantized.figures is not None)

    @Slot(object)
    def _on_tile_read(self, tile: Tile) -> None:
        matrix = self._inspector.matrix
        self._answered, self._asked = self._asked, None
        if matrix is None or tile.picture is not self._picture:
            self._answered = None
            self._ask_for_tile()
            return
        quantized, codes = self._inspector.quantized_matrix, None
        if tile.picture is Picture.CODES and quantized is not None:
            codes = CodeScale(quantized.levels, quantized.first_code)
        low, high = self._color_range(matrix) if codes is None else (0.0, float(codes.highest_rank))
        self.heat.show_tile(tile, low, high, codes)
        if (tile.rows, tile.columns) == (matrix.rows, matrix.columns):
            self._overview_is_true = True
        self._show_legend(tile, low, high, codes)
        self._ask_for_tile()

    def _color_range(self, matrix: Matrix) -> tuple[float, float]:
        """From where to where colours go, around zero."""
        quantized = self._inspector.quantized_matrix
        size = math.hypot(matrix.mean, matrix.std)
        limit = min(max(abs(matrix.lowest), abs(matrix.highest)), _SIGMAS * size)
        if self._picture is Picture.ERROR and quantized is not None and quantized.figures is not None:
            limit = min(quantized.figures.max_abs_error, _SIGMAS * quantized.figures.relative_error * size)
        return -limit, limit

    def _show_legend(self, tile: Tile, low: float, high: float, codes: CodeScale | None) -> None:
        down, across = tile.rows / tile.height, tile.columns / tile.width
        if codes is None:
            parts = [f"colours from {significant(low)} to {significant(high)}, and no stronger beyond"]
        else:
            lowest, highest = codes.ends()
            parts = [f"colours in the order of the levels, from {lowest} to {highest}"]
        if down > 1 or across > 1:
            what = f"{significant(down, 2)} × {significant(across, 2)}"
            of = "the code of the largest" if self._picture is Picture.CODES else "the largest"
            parts.append(f"a pixel is {of} of about {what} weights")
        self.legend.setText(" · ".join(parts))
        self.legend.setToolTip(theme.literal(self.legend.text()))

    # ---- one weight ------------------------------------------------------------------------------------------

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
            self.look_at(*divmod(block * block_weights(quantized.knobs, matrix), matrix.columns))

    @Slot()
    def _on_go_to(self) -> None:
        matrix = self._inspector.matrix
        if matrix is None:
            return
        parts = self.go_to.text().replace(",", " ").split()
        numbers = [int(part) for part in parts if part.isdecimal()]
        if len(parts) != 2 or len(numbers) != 2 or numbers[0] >= matrix.rows or numbers[1] >= matrix.columns:
            rows, columns = matrix.rows - 1, matrix.columns - 1
            self._show_error(f"Type a row from 0 to {rows} and a column from 0 to {columns}, as in 3, 128.")
            return
        self._show_error("")
        self.look_at(numbers[0], numbers[1])

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
