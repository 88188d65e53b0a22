"""The Speed tab's charts: throughput and first token with their spread, and each token's time."""

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QHBoxLayout, QWidget

from qplayground.core.caveats import spoilt
from qplayground.core.metrics import BY_KEY, Metric
from qplayground.core.results import Comparison, Run
from qplayground.core.units import significant
from qplayground.ui import theme
from qplayground.ui.plots import style
from qplayground.ui.plots.axes import CountAxis
from qplayground.ui.plots.chart import Chart
from qplayground.ui.plots.crosshair import Crosshair

_HEIGHT = 0.56
_ROOM = 1.7
_WHISKER = 0.18


class SpeedCharts(Chart):
    """Bars of decode speed and of the time to first token, a dot a sample; beside them the time of every token."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._comparison: Comparison | None = None
        self.view = pg.GraphicsLayoutWidget()
        self.view.setAccessibleName("Decode speed, time to first token, and the time of each token")
        self._bars = {key: self._add_bars(column, key) for column, key in enumerate(("decode_tokens_per_s", "ttft_s"))}
        self.latency = self.view.addPlot(row=0, col=2, axisItems={"bottom": CountAxis("bottom")})
        self.latency.setLabel("left", "ms a token")
        self.latency.setLabel("bottom", "token")
        self.latency.showGrid(x=False, y=True, alpha=0.15)
        self.latency.setLimits(xMin=0, yMin=0)
        self._crosshair = Crosshair(self.latency, self, self._reading)
        self.view.ci.layout.setColumnStretchFactor(2, 2)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self._paint()

    def _add_bars(self, column: int, key: str) -> pg.PlotItem:
        plot = self.view.addPlot(row=0, col=column)
        metric = BY_KEY[key]
        plot.setLabel("bottom", f"{metric.title}, {metric.unit}")
        plot.setMouseEnabled(x=True, y=False)
        plot.hideButtons()
        plot.showGrid(x=True, y=False, alpha=0.15)
        return plot

    @Slot(object)
    def show_comparison(self, comparison: Comparison | None) -> None:
        """Draw every run that has been timed."""
        self._comparison = comparison
        self._draw()

    def _draw(self) -> None:
        runs = [] if self._comparison is None else self._comparison.runs
        for key, plot in self._bars.items():
            self._draw_bars(plot, BY_KEY[key], runs)
        self.latency.clear()
        repeated = self._comparison is not None and self._comparison.rounds > 1
        self.latency.setLabel("bottom", "token, of the last round" if repeated else "token")
        self._crosshair.restore()
        for run in runs:
            times = latencies_ms(run)
            if len(times):
                self.latency.plot(np.arange(1, len(times) + 1), times, pen=style.curve_pen(run.precision, self))

    def _draw_bars(self, plot: pg.PlotItem, metric: Metric, runs: list[Run]) -> None:
        plot.clear()
        text = self.palette().color(QPalette.ColorRole.Text)
        dark = theme.is_dark(self)
        highest = 0.0
        for row, run in enumerate(runs):
            value, samples = metric.read(run), metric.spread(run)
            if value is None:
                continue
            y = len(runs) - 1 - row
            hue = theme.color(run.precision, dark)
            plot.addItem(pg.BarGraphItem(x0=0, y=y, width=value, height=_HEIGHT, brush=hue, pen=None))
            right = value
            if samples is not None and samples.n > 1:
                low, right = min(samples.values), max(samples.values)
                for xs, ys in (
                    ([low, right], [y, y]),
                    ([low, low], [y - _WHISKER, y + _WHISKER]),
                    ([right, right], [y - _WHISKER, y + _WHISKER]),
                ):
                    plot.addItem(pg.PlotCurveItem(xs, ys, pen=pg.mkPen(text, width=1.5)))
                dots = {"x": list(samples.values), "y": [y] * samples.n, "size": 4}
                plot.addItem(pg.ScatterPlotItem(**dots, brush=text, pen=None))
            doubtful = self._comparison is not None and metric.key in spoilt(self._comparison, run)
            label = pg.TextItem(metric.text(value) + "*" * doubtful, color=text, anchor=(0, 0.5))
            label.setFont(style.tick_font(self))
            label.setPos(max(value, right) * 1.02, y)
            plot.addItem(label)
            highest = max(highest, value, right)
        plot.getAxis("left").setTicks([[(len(runs) - 1 - row, run.precision) for row, run in enumerate(runs)]])
        plot.getAxis("bottom").setStyle(showValues=highest > 0)  # a scale without data would be made up
        plot.setLimits(xMin=0)
        plot.setXRange(0, (highest or 1) * _ROOM, padding=0)
        plot.setYRange(-0.6, max(len(runs), 1) - 0.4, padding=0)

    def _reading(self, x: float, _y: float) -> str:
        index = round(x) - 1
        runs = [] if self._comparison is None else self._comparison.runs
        found = [
            f"{run.precision} {significant(float(times[index]))} ms"
            for run in runs
            if 0 <= index < len(times := latencies_ms(run))
        ]
        return f"token {index + 1}: {' · '.join(found)}" if found else ""

    def _paint(self) -> None:
        super()._paint()
        self.view.setBackground(self.palette().color(QPalette.ColorRole.Base))
        for plot in (*self._bars.values(), self.latency):
            style.paint(plot, self)
        for plot in self._bars.values():
            plot.getAxis("left").setStyle(tickLength=0)
            plot.getAxis("left").setPen(pg.mkPen(QColor(Qt.GlobalColor.transparent)))
        self._crosshair.paint()
        self._draw()


def latencies_ms(run: Run) -> np.ndarray:
    """Milliseconds from each token to the one before it, the first from the call of generate."""
    return 1000 * np.diff([0.0, *(token.time_s for token in run.tokens)])
