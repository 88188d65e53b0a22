"""The Speed tab's charts: throughput and time to first token with their spread, and the latency of each token."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QPalette

from qplayground.core.comparison.metrics import BY_KEY, Metric
from qplayground.core.comparison.results import Run
from qplayground.core.units import significant
from qplayground.ui.charts import style
from qplayground.ui.charts.axes import CountAxis
from qplayground.ui.charts.comparison.comparison_chart import ComparisonChart
from qplayground.ui.charts.run_items import RunItems
from qplayground.ui.widgets import theme

_HEIGHT = 0.56
_ROOM = 1.7
_WHISKER = 0.18
_KEY = "pale and *: disturbed, and no ranking; the notes below the texts say by what"
_KEY_HEIGHT = 18


class _Bar(NamedTuple):
    """A run's figure and its row. `is_doubtful`: it was disturbed."""

    y: int
    value: float
    samples: tuple[float, ...]
    text: str
    is_doubtful: bool

    @property
    def right(self) -> float:
        return max(self.value, *self.samples) if len(self.samples) > 1 else self.value


class _Times(NamedTuple):
    """The arrival times of a run's tokens. `is_doubtful`: another process used the CPU meanwhile."""

    times_s: tuple[float, ...]
    is_doubtful: bool


class SpeedCharts(ComparisonChart):
    """Bars of decode speed and time to first token, with a dot per sample; beside them each token's latency.

    Disturbed figures are pale, and a legend explains this.
    """

    def __init__(self) -> None:
        super().__init__("Decode speed, time to first token, and the time of each token")
        self.bars = {key: self._add_bars(column, key) for column, key in enumerate(("decode_tokens_per_s", "ttft_s"))}
        axis, labels = CountAxis("bottom"), {"left": "ms a token", "bottom": "token"}
        self.latency = self.view.addPlot(row=0, col=2, axisItems={"bottom": axis}, labels=labels)
        self.latency.showGrid(x=False, y=True, alpha=0.15)
        self.latency.setLimits(xMin=0, yMin=0)
        self._follow_mouse(self.latency, self.reading)
        self.items = {key: RunItems(plot, self._draw_bar) for key, plot in self.bars.items()}
        self.curves = RunItems(self.latency, self._draw_curve)
        self.view.ci.layout.setColumnStretchFactor(2, 2)
        self.key = pg.LabelItem(justify="left")  # part of the picture, so saved with it
        self.view.addItem(self.key, row=1, col=0, colspan=3)
        self._paint()

    def _add_bars(self, column: int, key: str) -> pg.PlotItem:
        metric = BY_KEY[key]
        plot = self.view.addPlot(row=0, col=column, labels={"bottom": f"{metric.title}, {metric.unit}"})
        plot.setLimits(xMin=0)
        plot.setMouseEnabled(x=True, y=False)
        plot.hideButtons()
        plot.showGrid(x=True, y=False, alpha=0.15)
        return plot

    def _draw(self) -> None:
        runs = self._runs
        for key, plot in self.bars.items():
            self._draw_bars(plot, BY_KEY[key])
        repeated = self._comparison is not None and self._comparison.rounds > 1
        self.latency.setLabel("bottom", "token, of the last round" if repeated else "token")
        times = {
            run.id: _Times(tuple(token.time_s for token in run.tokens), self._is_doubtful(run, "decode_tokens_per_s"))
            for run in runs
            if run.tokens
        }
        self.curves.show(times)
        self._show_key(any(self._is_doubtful(run, key) for run in runs for key in self.bars))

    def _is_doubtful(self, run: Run, key: str) -> bool:
        """Whether the run has this figure and it was disturbed."""
        return BY_KEY[key].read(run) is not None and key in self._spoilt(run)

    def _show_key(self, is_needed: bool) -> None:
        self.key.setText(_KEY if is_needed else "")
        self.key.setMaximumHeight(round(_KEY_HEIGHT * theme.text_scale()) if is_needed else 0)

    def _draw_curve(self, name: str, shown: _Times) -> list[pg.GraphicsObject]:
        latencies = latencies_ms(shown.times_s)
        pen = style.doubtful_pen(name, self) if shown.is_doubtful else style.curve_pen(name, self)
        return [pg.PlotDataItem(np.arange(1, len(latencies) + 1), latencies, pen=pen)]

    def _draw_bars(self, plot: pg.PlotItem, metric: Metric) -> None:
        bars = {}
        for y, run in enumerate(reversed(self._runs)):
            value, samples = metric.read(run), metric.spread(run)
            if value is not None:
                doubtful = self._is_doubtful(run, metric.key)
                text = metric.text(value) + "*" * doubtful
                bars[run.id] = _Bar(y, value, () if samples is None else tuple(samples.values), text, doubtful)
        self.items[metric.key].show(bars)
        highest = max((bar.right for bar in bars.values()), default=0.0)
        self._fit_rows(plot, highest, (highest or 1) * _ROOM)

    def _draw_bar(self, name: str, bar: _Bar) -> list[pg.GraphicsObject]:
        y = bar.y
        text = self.palette().color(QPalette.ColorRole.Text)
        hue = theme.color(name, theme.is_dark(self))
        look = style.data_look(hue, bar.is_doubtful)
        items = [pg.BarGraphItem(x0=0, y=y, width=bar.value, height=_HEIGHT, **look)]
        if len(bar.samples) > 1:
            low, high = min(bar.samples), max(bar.samples)
            for xs, ys in (
                ([low, high], [y, y]),
                ([low, low], [y - _WHISKER, y + _WHISKER]),
                ([high, high], [y - _WHISKER, y + _WHISKER]),
            ):
                items.append(pg.PlotCurveItem(xs, ys, pen=pg.mkPen(text, width=1.5)))
            dots = {"x": list(bar.samples), "y": [y] * len(bar.samples), "size": 4}
            items.append(pg.ScatterPlotItem(**dots, brush=text, pen=None))
        return [*items, style.label(bar.text, bar.right * 1.02, y, self)]

    def reading(self, x: float, _y: float) -> str:
        """The text for the mouse position, in plot coordinates; empty if there is nothing."""
        index = round(x) - 1
        found = [
            f"{run.id} {significant(float(times[index]))} ms"
            for run in self._runs
            if 0 <= index < len(times := latencies_ms(token.time_s for token in run.tokens))
        ]
        return f"token {index + 1}: {' · '.join(found)}" if found else ""

    def _paint(self) -> None:
        self.key.setAttr("color", style.secondary(self))
        for bars in self.items.values():
            bars.clear()
        self.curves.clear()
        super()._paint()
        for plot in self.bars.values():
            self._hide_left_axis(plot)


def latencies_ms(times_s: Iterable[float]) -> np.ndarray:
    """Milliseconds since the previous token; for the first token, since the call of generate."""
    return 1000 * np.diff([0.0, *times_s])
