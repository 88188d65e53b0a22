"""The histogram of a matrix's weights, with the available levels."""

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QPalette

from qplayground.core.inside import Matrix
from qplayground.core.measures.floats import Counts, Floats
from qplayground.core.units import number_text, share_text
from qplayground.ui.charts import style
from qplayground.ui.charts.chart import Chart
from qplayground.ui.charts.inside.arrays import Values, bin_rows, bins_of, counts_of, values_of
from qplayground.ui.widgets import theme

_ROOM = 1.15
"""The initial range relative to absmax."""
_SIGMAS = 4.0
_TICK = 0.06
"""Height of a tick relative to the highest bar."""
_MANY = 32


class WeightHistogram(Chart):
    """A matrix's values as bars, one block's levels as lines, and that block's own values as ticks.

    A level times the block's absmax is a weight, so the lines move with the absmax.
    """

    def __init__(self) -> None:
        super().__init__("How the weights are distributed, and the levels that they are stored as")
        self._matrix: Matrix | None = None
        self._levels: Values = np.empty(0)
        self._usage: Values = np.empty(0)
        self._first_code = 0
        self._absmax = 0.0
        self._block: Values = np.empty(0)
        self.plot = self.view.addPlot(labels={"bottom": "weight", "left": "weights"}, enableMenu=False)
        self.plot.setMouseEnabled(x=True, y=False)
        self.plot.setLimits(yMin=0)
        self._follow_mouse(self.plot, self.reading)
        self.bars = pg.PlotDataItem(stepMode="center", fillLevel=0)
        self.lines = pg.PlotCurveItem(connect="pairs", antialias=False)
        self.ticks = pg.PlotCurveItem(connect="pairs", antialias=False)
        for item in (self.bars, self.lines, self.ticks):
            self.plot.addItem(item, ignoreBounds=item is not self.bars)
        self._paint()
        style.show_values(self.plot, False)

    def show_matrix(self, matrix: Matrix, levels: Floats | None = None, absmax: float = 0.0) -> None:
        """Draw a matrix's values. The lines are `levels`, between −1 and 1, times `absmax`. None: no lines."""
        self._matrix = matrix
        style.show_values(self.plot, True)
        self._draw_bars()
        self.show_levels(levels, absmax)

    def show_levels(
        self, levels: Floats | None, absmax: float, usage: Counts | None = None, first_code: int = 0
    ) -> None:
        """Draw other levels. `usage`: how often each is used. `first_code`: the first level's code."""
        self._levels = values_of(levels)
        self._usage = counts_of(usage)
        self._first_code = first_code
        self.show_block(absmax, None)

    def show_block(self, absmax: float, values: Floats | None) -> None:
        """Scale the levels by a block's absmax, and show the block's values. None: no values."""
        self._absmax = absmax
        self._block = values_of(values)
        self._draw_lines()
        self._look_at_most()

    def clear(self) -> None:
        """Remove everything."""
        self._matrix = None
        self._levels = self._usage = self._block = np.empty(0)
        for item in (self.bars, self.lines, self.ticks):
            item.clear()
        style.show_values(self.plot, False)

    @property
    def level_weights(self) -> Values:
        """The drawn levels as weights."""
        return self._levels * self._absmax

    def table(self) -> list[list[object]]:
        """The bars, then the levels, for saving."""
        if self._matrix is None:
            return []
        rows: list[list[object]] = [["from", "to", "weights"], *bin_rows(self._matrix.histogram)]
        if len(self._levels):
            rows += [[], ["code", "level", f"weight where the absmax is {self._absmax:g}", "weights stored as it"]]
            usage = [int(count) for count in self._usage] if len(self._usage) else [""] * len(self._levels)
            for place, (level, used) in enumerate(zip(self._levels, usage, strict=True)):
                rows.append([self._first_code + place, level, level * self._absmax, used])
        return rows

    # ---- drawing ---------------------------------------------------------------------------------------------

    def _top(self) -> float:
        return 0.0 if self._matrix is None else float(counts_of(self._matrix.histogram.counts).max(initial=0.0))

    def _draw(self) -> None:
        self._draw_bars()
        self._draw_lines()

    def _draw_bars(self) -> None:
        if self._matrix is None:
            return
        hue = style.secondary(self)
        self.bars.setData(*bins_of(self._matrix.histogram))
        self.bars.setPen(pg.mkPen(style.faded(hue, 160), width=1))
        self.bars.setFillBrush(pg.mkBrush(style.faded(hue, 70)))
        self.plot.setYRange(0, 1.05 * self._top() or 1, padding=0)

    def _look_at_most(self) -> None:
        """Zoom to nearly all weights, because outliers would squeeze the rest. They can be reached by panning."""
        matrix = self._matrix
        if matrix is None:
            return
        reach = max(_ROOM * self._absmax, _SIGMAS * matrix.std) or 1.0
        low, high = max(matrix.lowest, matrix.mean - reach), min(matrix.highest, matrix.mean + reach)
        if len(self._block):  # show the followed block and its levels fully
            low, high = min(low, -self._absmax), max(high, self._absmax)
        if high > low:
            self.plot.setXRange(low, high, padding=0.03)

    def _draw_lines(self) -> None:
        top = 1.05 * self._top()
        accent = self.palette().color(QPalette.ColorRole.Accent)
        self.lines.setData(*_uprights(self.level_weights, top))
        self.lines.setPen(pg.mkPen(style.faded(accent, 90 if len(self._levels) > _MANY else 220), width=1))
        self.ticks.setData(*_uprights(self._block, _TICK * top))
        self.ticks.setPen(pg.mkPen(theme.color("fp4", theme.is_dark(self)), width=1))

    def reading(self, x: float, _y: float) -> str:
        """The text for the bin at x and the nearest level; empty if there is none."""
        if self._matrix is None:
            return ""
        edges, counts = bins_of(self._matrix.histogram)
        place = int(np.searchsorted(edges, x, side="right")) - 1
        parts = []
        if 0 <= place < len(counts):
            parts.append(
                f"{number_text(edges[place])} to {number_text(edges[place + 1])}: {int(counts[place]):,} weights"
            )
        if len(self._levels):
            nearest = int(np.abs(self.level_weights - x).argmin())
            level = f"code {self._first_code + nearest} is {number_text(self.level_weights[nearest])}"
            total = self._usage.sum()
            parts.append(f"{level}, used by {share_text(self._usage[nearest] / total)}" if total else level)
        return " · ".join(parts)


def _uprights(x: Values, height: float) -> tuple[Values, Values]:
    """A vertical line from 0 to `height` at each x, as pairs of points."""
    return np.repeat(x, 2), np.tile([0.0, height], len(x))
