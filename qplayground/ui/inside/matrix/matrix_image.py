"""An image of a matrix: original weights, codes, dequantized weights, or error, with a legend."""

import math

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QLineEdit, QRadioButton, QToolButton, QWidget

from qplayground.core.inside import Matrix, Picture, QuantizedMatrix, Tile
from qplayground.core.units import significant
from qplayground.runtime.inside.inspector import Inspector
from qplayground.ui.charts.inside.code_scale import CodeScale
from qplayground.ui.charts.inside.heat_map import HeatMap
from qplayground.ui.inside.saving import SaveButton
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import in_column, in_row

_TITLES = {
    Picture.ORIGINAL: ("&As it is", "The weights of the checkpoint"),
    Picture.CODES: ("&Codes", "What is stored for each weight"),
    Picture.DEQUANTIZED: ("Bac&k again", "What each code stands for: level × absmax of its block"),
    Picture.ERROR: ("&Error", "What comes back, less what was there"),
}
_SIGMAS = 4.0
"""The colour scale ends at this many standard deviations, if the largest value lies beyond."""

_Question = tuple[Picture, int, int, int, int, int, int]


class MatrixImage(QWidget):
    """Requests the tiles that the heat map lacks.

    `is_current`: the chosen picture of the current matrix and parameters is fully drawn. Signals: `went_to(row,
    column)`; `misunderstood(str)`, an error in the typed position, empty if it is valid.
    """

    went_to = Signal(int, int)
    misunderstood = Signal(str)

    def __init__(self, inspector: Inspector) -> None:
        super().__init__()
        self._inspector = inspector
        self._picture = Picture.ORIGINAL
        self.is_current = False
        self._asked: _Question | None = None
        self._answered: _Question | None = None
        self.heat = HeatMap()
        self.save = SaveButton({"Matrix": self.heat})
        self.legend = theme.small_label()
        self.legend.setWordWrap(True)
        self.legend.setAlignment(Qt.AlignmentFlag.AlignTop)
        theme.follow_text(self.legend, lambda: self.legend.setFixedHeight(2 * self.legend.fontMetrics().lineSpacing()))
        self._build()
        inspector.tile_read.connect(self._on_tile_read)
        inspector.failed.connect(self._on_failed)
        self.heat.settled.connect(self._ask_for_tile)
        self.go_to.returnPressed.connect(self._on_go_to)
        self.whole.clicked.connect(self.heat.show_whole)
        self._show_pictures()

    def _build(self) -> None:
        self.pictures: dict[Picture, QRadioButton] = {}
        for picture, (text, tip) in _TITLES.items():
            button = self.pictures[picture] = QRadioButton(text)
            button.setToolTip(tip)
            button.setChecked(picture is self._picture)
            button.toggled.connect(self._on_picture_toggled)
        self.go_to = QLineEdit()
        self.go_to.setPlaceholderText("row, column")
        self.go_to.setAccessibleName("Go to a row and column")
        self.go_to.setToolTip("Go to that weight (Return)")
        theme.follow_text(self.go_to, lambda: self.go_to.setFixedWidth(round(12 * theme.GRID * theme.text_scale())))
        self.whole = QToolButton()
        self.whole.setText("Whole")
        self.whole.setToolTip("Show the whole matrix")
        above = in_row(*self.pictures.values(), None, self.go_to, self.whole, self.save, spacing=theme.HALF_GRID)
        in_column(above, self.heat, self.legend, within=self, grows=self.heat, spacing=theme.HALF_GRID)

    # ---- public methods --------------------------------------------------------------------------------------

    def show_nothing(self) -> None:
        """Remove the matrix."""
        self.is_current = False
        self._asked = self._answered = None
        self.heat.clear()
        self.legend.clear()
        self._show_pictures()

    def show_matrix(self, matrix: Matrix) -> None:
        """Show a matrix, and request its overview."""
        self.heat.show_matrix(matrix.rows, matrix.columns)
        self._show_pictures()
        self._ask_for_tile()

    def show_quantized(self, block_size: int | None) -> None:
        """The matrix was quantized again: request what changed. `block_size` in weights, None: no borders."""
        self.heat.show_blocks(block_size)
        self._show_pictures()
        if self._picture is not Picture.ORIGINAL:
            self.is_current = False
            self._answered = None
        self._ask_for_tile()

    # ---- choice of picture -----------------------------------------------------------------------------------

    def _show_pictures(self) -> None:
        """Enable the pictures that exist."""
        quantized = self._inspector.quantized_matrix
        for picture, button in self.pictures.items():
            button.setEnabled(_has(picture, quantized) or (quantized is None and picture is self._picture))

    @Slot(bool)
    def _on_picture_toggled(self, checked: bool) -> None:
        if not checked:
            return
        self._picture = next(picture for picture, button in self.pictures.items() if button.isChecked())
        self.is_current = False
        self._answered = None
        self._ask_for_tile()

    # ---- tiles -----------------------------------------------------------------------------------------------

    @Slot()
    def _ask_for_tile(self) -> None:
        """Request what is missing: the overview first, then the visible part if the overview is not sharp enough."""
        matrix, quantized = self._inspector.matrix, self._inspector.quantized_matrix
        if matrix is None or (quantized is None and self._picture is not Picture.ORIGINAL):
            return
        if not _has(self._picture, quantized):
            self.pictures[Picture.ORIGINAL].setChecked(True)
            return
        if not self.is_current:
            question = (self._picture, 0, matrix.rows, 0, matrix.columns, *self.heat.pixels())
        elif self.heat.needs_detail:
            question = (self._picture, *self.heat.seen(), *self.heat.pixels())
        else:
            return
        if question not in (self._asked, self._answered):
            self._asked = question
            self._inspector.read_tile(*question)

    @Slot(object)
    def _on_failed(self, _: object) -> None:
        self._asked = None

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
            self.is_current = True
        self._show_legend(tile, low, high, codes)
        self._ask_for_tile()

    def _color_range(self, matrix: Matrix) -> tuple[float, float]:
        """The ends of the colour scale, symmetric around zero."""
        quantized = self._inspector.quantized_matrix
        size = math.hypot(matrix.mean, matrix.std)
        limit = min(max(abs(matrix.lowest), abs(matrix.highest)), _SIGMAS * size)
        if self._picture is Picture.ERROR and quantized is not None and quantized.figures is not None:
            limit = min(quantized.figures.max_abs_error, _SIGMAS * quantized.figures.relative_error * size)
        return -limit, limit

    def _show_legend(self, tile: Tile, low: float, high: float, codes: CodeScale | None) -> None:
        down, across = tile.rows / tile.height, tile.columns / tile.width
        if codes is None:
            parts = [f"colours from {significant(low)} to {significant(high)}, and the same beyond"]
        else:
            lowest, highest = codes.ends()
            parts = [f"colours in the order of the levels, from {lowest} to {highest}"]
        if down > 1 or across > 1:
            what = f"{significant(down, 2)} × {significant(across, 2)}"
            of = "the code of the largest" if self._picture is Picture.CODES else "the largest"
            parts.append(f"a pixel is {of} of about {what} weights")
        self.legend.setText(" · ".join(parts))
        self.legend.setToolTip(theme.literal(self.legend.text()))

    @Slot()
    def _on_go_to(self) -> None:
        matrix = self._inspector.matrix
        if matrix is None:
            return
        parts = self.go_to.text().replace(",", " ").split()
        numbers = [int(part) for part in parts if part.isdecimal()]
        if len(parts) != 2 or len(numbers) != 2 or numbers[0] >= matrix.rows or numbers[1] >= matrix.columns:
            rows, columns = matrix.rows - 1, matrix.columns - 1
            self.misunderstood.emit(f"Type a row from 0 to {rows} and a column from 0 to {columns}, as in 3, 128.")
            return
        self.misunderstood.emit("")
        self.went_to.emit(numbers[0], numbers[1])


def _has(picture: Picture, quantized: QuantizedMatrix | None) -> bool:
    """Whether this picture exists for the quantized matrix. None: not quantized yet."""
    if picture is Picture.ORIGINAL:
        return True
    return quantized is not None and (picture is not Picture.ERROR or quantized.figures is not None)
