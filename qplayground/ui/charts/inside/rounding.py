"""A few neighbouring weights, the levels available, and the level each is rounded to."""

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QPalette

from qplayground.core.units import significant
from qplayground.ui.charts import style
from qplayground.ui.charts.chart import Chart
from qplayground.ui.charts.inside.arrays import Values
from qplayground.ui.widgets import theme

_BEFORE, _AFTER = "bf16", "fp4"
"""The precisions whose hues are used."""
_DOT, _RING = 7, 10
_BAND = 14
"""Width of the band behind the marked weight, in pixels."""


class RoundingPlot(Chart):
    """Dots are original weights, rings are dequantized ones. A line connects the two of each weight."""

    def __init__(self) -> None:
        super().__init__("Weights, and the levels that they are rounded to")
        self._before: Values = np.empty(0)
        self._after: Values = np.empty(0)
        self._levels: Values = np.empty(0)
        self._marked: int | None = None
        self.plot = self.view.addPlot(labels={"bottom": "column", "left": "weight"}, enableMenu=False)
        self._lines = pg.PlotCurveItem(connect="pairs", antialias=False)
        self._moves = pg.PlotCurveItem(connect="pairs")
        self._dots = pg.ScatterPlotItem(size=_DOT, pen=None)
        self._rings = pg.ScatterPlotItem(size=_RING, brush=None)
        self._mark = pg.InfiniteLine(angle=90, movable=False)
        for item in (self._lines, self._moves, self._dots, self._rings):
            self.plot.addItem(item)
        self.plot.addItem(self._mark, ignoreBounds=True)
        self._follow_mouse(self.plot, self.reading)
        self._paint()

    def show_weights(
        self, before: Sequence[float], after: Sequence[float], levels: Sequence[float], marked: int | None = None
    ) -> None:
        """Draw original and dequantized weights from column 0 on, and the levels of their block as weights."""
        self._before, self._after = np.asarray(before, np.float64), np.asarray(after, np.float64)
        self._levels, self._marked = np.asarray(levels, np.float64), marked
        self._draw()
        self.plot.autoRange(padding=0.03)

    def table(self) -> list[list[object]]:
        """The drawn data, for saving."""
        rows: list[list[object]] = [["column", "weight", "comes back as"]]
        rows += [
            [place, before, after] for place, (before, after) in enumerate(zip(self._before, self._after, strict=True))
        ]
        return [*rows, [], ["level"], *([level] for level in self._levels)]

    def _draw(self) -> None:
        count = len(self._before)
        self._lines.setData(np.tile([-0.7, count - 0.3], len(self._levels)), np.repeat(self._levels, 2))
        places = np.arange(count)
        self._moves.setData(np.repeat(places, 2), np.column_stack([self._before, self._after]).ravel())
        self._dots.setData(places, self._before)
        self._rings.setData(places, self._after)
        self._mark.setVisible(self._marked is not None)
        self._mark.setPos(self._marked or 0)

    def reading(self, x: float, _y: float) -> str:
        """The text for the mouse position, in plot coordinates; empty if there is nothing."""
        place = round(x)
        if not 0 <= place < len(self._before):
            return ""
        before, after = float(self._before[place]), float(self._after[place])
        return f"column {place}: {significant(before)} comes back as {significant(after)}"

    def _paint(self) -> None:
        dark, text = theme.is_dark(self), self.palette().color(QPalette.ColorRole.Text)
        self._lines.setPen(pg.mkPen(style.faded(style.secondary(self), 110), width=1))
        self._moves.setPen(pg.mkPen(theme.color(_AFTER, dark), width=1))
        self._dots.setBrush(pg.mkBrush(theme.color(_BEFORE, dark)))
        self._rings.setPen(pg.mkPen(theme.color(_AFTER, dark), width=1.5))
        self._mark.setPen(pg.mkPen(style.faded(text, 45), width=_BAND))
        super()._paint()
