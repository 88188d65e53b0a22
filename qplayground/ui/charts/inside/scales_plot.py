"""The absmax of every block, in order and as a histogram."""

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtGui import QPalette

from qplayground.core.inside import Scales
from qplayground.core.units import number_text
from qplayground.ui.charts import style
from qplayground.ui.charts.chart import Chart, clicked_at
from qplayground.ui.charts.inside.arrays import Values, bin_rows, bins_of, values_of


class ScalesPlot(Chart):
    """A curve over the blocks, with a histogram beside it. Signal: `picked(int)`, the clicked block."""

    picked = Signal(int)

    def __init__(self) -> None:
        super().__init__("The absmax of every block")
        self._scales: Scales | None = None
        self.plot = self.view.addPlot(labels={"left": "absmax"}, enableMenu=False)
        self.plot.showGrid(x=False, y=True, alpha=0.15)
        self.plot.setLimits(yMin=0)
        self.beside = self.view.addPlot(labels={"bottom": "blocks"}, enableMenu=False)
        self.beside.hideAxis("left")
        self.beside.setYLink(self.plot)
        self.beside.setMouseEnabled(x=False, y=True)
        self.view.ci.layout.setColumnStretchFactor(0, 3)
        self.view.ci.layout.setColumnStretchFactor(1, 1)
        self.lowest = pg.PlotCurveItem()
        self.highest = pg.PlotCurveItem()
        self.mean = pg.PlotCurveItem()
        self._between = pg.FillBetweenItem(self.lowest, self.highest)
        self.bars = pg.BarGraphItem(x0=[], y=[], width=[], height=[])
        self._line = pg.InfiniteLine(angle=90, movable=False)
        self._line.hide()
        for item in (self._between, self.lowest, self.highest, self.mean):
            self.plot.addItem(item)
        self.plot.addItem(self._line, ignoreBounds=True)
        self.beside.addItem(self.bars)
        self._follow_mouse(self.plot, self.reading)
        self.plot.scene().sigMouseClicked.connect(self._on_clicked)
        self._paint()
        self._show_axes(False)

    def show_scales(self, scales: Scales, block_size: int) -> None:
        """Draw the scales. `block_size`: weights per scale."""
        self._scales = scales
        self._line.hide()
        self._show_axes(True)
        self.plot.setLabel("bottom", f"block of {block_size:,} weights")
        self._draw()
        self.plot.setLimits(xMin=0, xMax=max(1, scales.count))
        self.plot.setXRange(0, max(1, scales.count), padding=0)
        highest = float(values_of(scales.highest).max(initial=0.0))
        lowest = float(values_of(scales.lowest).min(initial=highest))
        room = 0.05 * (highest - lowest) or 0.05 * highest or 1.0
        self.plot.setYRange(max(0.0, lowest - room), highest + room, padding=0)

    def mark(self, block: int | None) -> None:
        """Mark a block. None removes the mark."""
        self._line.setVisible(block is not None)
        if block is not None:
            self._line.setPos(block + 0.5)

    def clear(self) -> None:
        """Remove everything."""
        self._scales = None
        self._line.hide()
        for curve in (self.lowest, self.highest, self.mean):
            curve.setData([], [])
        self.bars.setOpts(x0=[], y=[], width=[], height=[])
        self._show_axes(False)

    def table(self) -> list[list[object]]:
        """The curve, then the histogram, for saving."""
        scales = self._scales
        if scales is None:
            return []
        rows: list[list[object]] = [["first block", "blocks", "lowest absmax", "mean absmax", "highest absmax"]]
        values = (values_of(each) for each in (scales.lowest, scales.mean, scales.highest))
        for place, (lowest, mean, highest) in enumerate(zip(*values, strict=True)):
            first = place * scales.per_point
            rows.append([first, min(scales.per_point, scales.count - first), lowest, mean, highest])
        return [*rows, [], ["absmax from", "to", "blocks"], *bin_rows(scales.histogram)]

    # ---- drawing ---------------------------------------------------------------------------------------------

    def _show_axes(self, shown: bool) -> None:
        for plot in (self.plot, self.beside):
            style.show_values(plot, shown)

    def _draw(self) -> None:
        scales = self._scales
        if scales is None:
            return
        accent = self.palette().color(QPalette.ColorRole.Accent)
        places = _steps(np.minimum(np.arange(len(scales.mean) + 1) * scales.per_point, scales.count))
        with QSignalBlocker(self.lowest):  # so that the area is drawn only once
            self.lowest.setData(places, np.repeat(values_of(scales.lowest), 2))
        for curve, values in ((self.highest, scales.highest), (self.mean, scales.mean)):
            curve.setData(places, np.repeat(values_of(values), 2))
        self.mean.setPen(pg.mkPen(accent, width=1.5 if scales.per_point == 1 else 2))
        for curve in (self.lowest, self.highest):
            curve.setPen(pg.mkPen(None))
        self._between.setBrush(pg.mkBrush(style.faded(accent, 70)))
        edges, counts = bins_of(scales.histogram)
        thick = np.diff(edges) if scales.histogram.high > scales.histogram.low else np.full(len(counts), 0.02)
        self.bars.setOpts(
            x0=np.zeros(len(counts)),
            y=(edges[:-1] + edges[1:]) / 2,
            width=counts,
            height=thick,
            pen=None,
            brush=style.faded(style.secondary(self), 150),
        )
        most = float(counts.max(initial=1.0))
        self.beside.setXRange(0, most, padding=0.02)
        round_count = max(1.0, float(f"{0.6 * most:.0e}"))
        self.beside.getAxis("bottom").setTicks([[(round_count, f"{round_count:,.0f}")]])  # there is room for one only

    def reading(self, x: float, _y: float) -> str:
        """The text for the mouse position, in plot coordinates; empty if there is nothing."""
        scales = self._scales
        if scales is None or not 0 <= x < scales.count:
            return ""
        place = int(x) // scales.per_point
        lowest, mean, highest = (
            number_text(float(each.values[place])) for each in (scales.lowest, scales.mean, scales.highest)
        )
        if scales.per_point == 1:
            return f"block {place:,}: {mean}"
        first = place * scales.per_point
        last = min(first + scales.per_point, scales.count) - 1
        return f"blocks {first:,} to {last:,}: {lowest} to {highest}, mean {mean}"

    def _on_clicked(self, event: object) -> None:
        at = clicked_at(self.plot, event)
        if self._scales is not None and at is not None and 0 <= int(at.x()) < self._scales.count:
            self.picked.emit(int(at.x()))

    def _paint(self) -> None:
        self._line.setPen(pg.mkPen(self.palette().color(QPalette.ColorRole.Text), width=1))
        super()._paint()


def median_absmax(scales: Scales) -> float:
    """The median absmax. With several blocks per point it is interpolated from the histogram."""
    if scales.per_point == 1:
        return float(np.median(values_of(scales.mean))) if scales.count else 0.0
    edges, counts = bins_of(scales.histogram)
    return float(np.interp(0.5 * counts.sum(), np.concatenate([[0.0], np.cumsum(counts)]), edges))


def _steps(edges: Values) -> Values:
    """The x values of a step curve: both ends of each step."""
    return np.repeat(edges, 2)[1:-1]
