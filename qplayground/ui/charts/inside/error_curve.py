"""The error of each method and block size on one matrix, against bits per weight."""

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from msgspec.structs import astuple
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QWidget

from qplayground.core import hues
from qplayground.core.inside import ErrorFigures, LayerRow, QuantizationParams
from qplayground.core.quantizers.base import Method
from qplayground.core.quantizers.registry import METHODS
from qplayground.core.units import number_text, share_text, significant
from qplayground.ui.charts import style
from qplayground.ui.charts.axes import DecadeAxis
from qplayground.ui.charts.chart import Chart
from qplayground.ui.widgets import theme

_HEADING = (
    *("module", "method", "block size", "double quantization"),
    *("bits a weight", "relative error", "SNR (dB)", "largest error"),
)
_DOT, _STAR, _RING = 9, 17, 23
"""The star is hollow and on top, because INT8 by row nearly coincides with INT8 by block."""


class ErrorCurve(Chart):
    """One curve per method over its block sizes; hollow points use double quantization. Signal: `picked(params)`."""

    picked = Signal(object)

    def __init__(self) -> None:
        super().__init__("Error against bits a weight, for every method and block size")
        self._rows: tuple[LayerRow, ...] = ()
        self._current: QuantizationParams | None = None
        axis, labels = DecadeAxis("left"), {"bottom": "bits a weight, scales included", "left": "relative error, %"}
        self.plot = self.view.addPlot(axisItems={"left": axis}, labels=labels, enableMenu=False)
        self.plot.showGrid(x=True, y=True, alpha=0.15)
        self.plot.setLogMode(x=False, y=True)
        self.plot.addLegend(offset=(-8, 8))
        self._ring = pg.ScatterPlotItem(size=_RING, brush=None)
        self._paint()

    def show_rows(self, rows: Sequence[LayerRow], current: QuantizationParams) -> None:
        """Draw the measurements of one matrix, with `current` marked."""
        anew = not self._rows or self._rows[0].module != (rows[0].module if rows else "")
        self._rows = tuple(rows)
        self._current = current.checked()
        self._draw()
        if anew:
            self.plot.enableAutoRange()

    def show_current(self, current: QuantizationParams) -> None:
        """Mark other parameters."""
        self._current = current.checked()
        self._draw_ring()

    @property
    def marked(self) -> LayerRow | None:
        """The row of the marked parameters."""
        return next((row for row in self._drawable() if row.params == self._current), None)

    def table(self) -> list[list[object]]:
        """The measurements, for saving."""
        return rows_table(self._rows)

    def _drawable(self) -> list[LayerRow]:
        """Rows with an error above 0, because the axis is logarithmic."""
        return [row for row in self._rows if row.figures.relative_error > 0]

    def _draw(self) -> None:
        self.plot.clear()
        style.show_values(self.plot, bool(self._rows))
        for method in METHODS.values():
            for double_quant in (False, True):
                rows = sorted(
                    (
                        row
                        for row in self._drawable()
                        if (row.params.kind, row.params.double_quant) == (method, double_quant)
                    ),
                    key=lambda row: row.figures.bits_per_weight,
                )
                if rows:
                    self._draw_method(method, double_quant, rows)
        self.plot.addItem(self._ring)
        self._draw_ring()

    def _draw_method(self, method: Method, double_quant: bool, rows: list[LayerRow]) -> None:
        hue = method_color(method, self)
        base = self.palette().color(QPalette.ColorRole.Base)
        x = np.array([row.figures.bits_per_weight for row in rows])
        y = np.array([100 * row.figures.relative_error for row in rows])
        line = Qt.PenStyle.DotLine if double_quant else Qt.PenStyle.SolidLine
        item = self.plot.plot(
            x,
            y,
            pen=pg.mkPen(style.faded(hue, 170), width=1.5, style=line),
            symbol=method.symbol,
            symbolSize=_DOT if method.has_blocks else _STAR,
            symbolBrush=(base if double_quant else hue) if method.has_blocks else None,
            symbolPen=pg.mkPen(hue, width=1.5 if method.has_blocks else 2),
            name=f"{method.label}{' + DQ' * double_quant}",  # short, because points are close by
            data=np.array(rows, dtype=object),
        )
        item.setZValue(0 if method.has_blocks else 1)
        item.scatter.opts["hoverable"] = True
        item.scatter.opts["tip"] = _tip
        item.sigPointsClicked.connect(self._on_points_clicked)

    def _draw_ring(self) -> None:
        row = self.marked
        self._ring.setData(
            [] if row is None else [row.figures.bits_per_weight],
            [] if row is None else [float(np.log10(100 * row.figures.relative_error))],
        )

    def _on_points_clicked(self, _item: object, points: Sequence[object], _event: object) -> None:
        row = points[0].data()  # type: ignore[attr-defined]
        if isinstance(row, LayerRow):
            self.picked.emit(row.params)

    def _paint(self) -> None:
        self._ring.setPen(pg.mkPen(self.palette().color(QPalette.ColorRole.Text), width=2))
        super()._paint()


def method_color(method: Method, shown: QWidget) -> QColor:
    """The hue of a method on the widget's background."""
    return QColor(hues.HUES[method.hue][theme.is_dark(shown)])


def rows_table(rows: Sequence[LayerRow]) -> list[list[object]]:
    """Measured layers with headings, for saving; empty if there are none."""
    if not rows:
        return []
    cells = ([row.module, *astuple(row.params)[:3], *astuple(row.figures)[:4]] for row in rows)
    return [list(_HEADING), *(["" if cell is None else cell for cell in line] for line in cells)]


def error_text(figures: ErrorFigures) -> str:
    """The relative error, and the SNR in decibels."""
    decibels = "" if figures.snr_db is None else f", {number_text(figures.snr_db)} dB"
    return f"relative error {share_text(figures.relative_error)}{decibels}"


def _tip(x: float, y: float, data: LayerRow) -> str:
    return f"{data.params.label}\n{significant(x, 4)} bits a weight, {error_text(data.figures)}"
