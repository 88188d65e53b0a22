"""The error of every layer under one choice of parameters: bars in the model's order."""

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Signal

from qplayground.core.inside import LayerRow
from qplayground.core.units import significant
from qplayground.ui.charts import style
from qplayground.ui.charts.chart import Chart, clicked_at
from qplayground.ui.charts.inside.error_curve import error_text, method_color, rows_table

_MANY = 80
"""With more bars, gaps would be narrower than a pixel."""


class LayerBars(Chart):
    """The relative error of each layer. Signal: `picked(str)`, the module of the clicked bar."""

    picked = Signal(str)

    def __init__(self) -> None:
        super().__init__("Error of each layer")
        self._rows: tuple[LayerRow, ...] = ()
        labels = {"left": "relative error, %", "bottom": "layer, in the order in which they compute"}
        self.plot = self.view.addPlot(labels=labels, enableMenu=False)
        self.plot.showGrid(x=False, y=True, alpha=0.15)
        self.plot.setMouseEnabled(x=True, y=False)
        self.plot.setLimits(xMin=-1, yMin=0)
        self._follow_mouse(self.plot, self.reading)
        self.plot.scene().sigMouseClicked.connect(self._on_clicked)
        self._paint()

    def show_rows(self, rows: Sequence[LayerRow]) -> None:
        """Draw one bar per row. All rows have the same parameters."""
        self._rows = tuple(rows)
        self._draw()

    def table(self) -> list[list[object]]:
        """The drawn data, for saving."""
        return rows_table(self._rows)

    def _draw(self) -> None:
        self._clear(self.plot)
        style.show_values(self.plot, bool(self._rows))
        if not self._rows:
            return
        heights = 100 * np.array([row.figures.relative_error for row in self._rows])
        hue = method_color(self._rows[0].params.kind, self)
        places = np.arange(len(heights))
        width = 0.8 if len(heights) <= _MANY else 1.0
        self.plot.addItem(pg.BarGraphItem(x=places, height=heights, width=width, brush=style.faded(hue, 200), pen=None))
        self.plot.setLimits(xMin=-1, xMax=len(heights), yMin=0)
        self.plot.setXRange(-1, len(heights), padding=0)
        self.plot.setYRange(0, 1.1 * float(heights.max()) or 1, padding=0)

    def reading(self, x: float, _y: float) -> str:
        """The text for the mouse position, in plot coordinates; empty if there is nothing."""
        place = round(x)
        if not 0 <= place < len(self._rows):
            return ""
        row = self._rows[place]
        bits = significant(row.figures.bits_per_weight, 4)
        return f"{row.module}: {error_text(row.figures)}, {bits} bits a weight"

    def _on_clicked(self, event: object) -> None:
        at = clicked_at(self.plot, event)
        if at is not None and 0 <= round(at.x()) < len(self._rows):
            self.picked.emit(self._rows[round(at.x())].module)
