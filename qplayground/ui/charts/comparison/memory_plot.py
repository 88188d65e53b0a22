"""One device's memory over time: a curve per engine, on axes that grow."""

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QWidget

from qplayground.ui.charts import style
from qplayground.ui.widgets import theme

_LONG = 2000
"""More points than the screen has columns."""
_FIRST_SPAN_S = 5.0
_FIRST_SPAN_MB = 500.0
_GROWTH = 1.25
_AXIS_WIDTH = 64


def axis_width() -> int:
    """The axis width in pixels. It is shared by stacked plots."""
    return round(_AXIS_WIDTH * theme.text_scale())


class Series:
    """An engine's samples, in arrays that double when full."""

    def __init__(self) -> None:
        self._times = np.empty(256)
        self._bytes = np.empty(256)
        self._count = 0
        self._highest = 0.0

    def add(self, time_s: float, num_bytes: float) -> None:
        if self._count == len(self._times):
            self._times = np.resize(self._times, 2 * self._count)
            self._bytes = np.resize(self._bytes, 2 * self._count)
        self._times[self._count] = time_s
        self._bytes[self._count] = num_bytes
        self._highest = max(self._highest, 0.0 if np.isnan(num_bytes) else num_bytes)
        self._count += 1

    @property
    def highest_megabytes(self) -> float:
        return self._highest / style.MEGABYTE

    @property
    def times_s(self) -> np.ndarray:
        return self._times[: self._count]

    @property
    def megabytes(self) -> np.ndarray:
        return self._bytes[: self._count] / style.MEGABYTE


class MemoryPlot:
    """Draws into one plot of the timeline. `series` and `curves` are keyed by engine name."""

    def __init__(self, plot: pg.PlotItem, label: str, shown: QWidget) -> None:
        self.plot = plot
        self._shown = shown
        self.series: dict[str, Series] = {}
        self.curves: dict[str, pg.PlotDataItem] = {}
        plot.setLabel("left", label)
        plot.showGrid(x=False, y=True, alpha=0.15)
        plot.setDownsampling(auto=True, mode="peak")
        plot.setClipToView(True)
        plot.setLimits(xMin=0, yMin=0)
        plot.setMouseEnabled(x=True, y=True)
        plot.disableAutoRange()
        self.start_over()

    def start_over(self) -> None:
        """Reset the axes to their initial ranges."""
        self.plot.setXRange(0, _FIRST_SPAN_S, padding=0)
        self.plot.setYRange(0, _FIRST_SPAN_MB, padding=0)

    def clear(self) -> None:
        """Remove all engines."""
        self.plot.clearPlots()
        self.series.clear()
        self.curves.clear()

    def add(self, name: str, time_s: float, num_bytes: int) -> None:
        """Add a sample."""
        self.series.setdefault(name, Series()).add(time_s, num_bytes)

    def break_off(self, name: str, time_s: float) -> None:
        """Interrupt the engine's curve. The next sample starts a new line."""
        if name in self.series:
            self.series[name].add(time_s, np.nan)

    def forget(self, name: str) -> None:
        """Remove an engine's curve."""
        self.series.pop(name, None)
        curve = self.curves.pop(name, None)
        if curve is not None:
            self.plot.removeItem(curve)

    def draw(self) -> list[str]:
        """Draw the samples. Returns the names of engines drawn for the first time."""
        new = [name for name in self.series if name not in self.curves]
        for name in new:
            pen = style.curve_pen(name, self._shown)
            self.curves[name] = self.plot.plot(pen=pen, autoDownsampleFactor=1.0, connect="finite")
        for name, samples in self.series.items():
            curve = self.curves[name]
            if len(samples.times_s) > _LONG and curve.opts["antialias"] is not False:
                # Qt takes 20 ms to draw a wide antialiased line of thousands of points, and it looks no better.
                curve.setPen(style.curve_pen(name, self._shown, width=1))
                curve.opts["antialias"] = False
            curve.setData(samples.times_s, samples.megabytes)
        return new

    def make_room(self, least_megabytes: float = 0.0) -> None:
        """Grow the axes in steps, because each new range redraws the whole chart.

        Memory starts at zero: a truncated axis would exaggerate differences.
        """
        if not self.series:
            return
        (_, right), (_, top) = self.plot.viewRange()
        latest_s = max(samples.times_s[-1] for samples in self.series.values())
        highest = max(least_megabytes, *(samples.highest_megabytes for samples in self.series.values()))
        if latest_s > right:
            self.plot.setXRange(0, latest_s * _GROWTH, padding=0)
        if highest > top or highest < top / 2:
            self.plot.setYRange(0, highest * _GROWTH, padding=0)

    def paint(self) -> None:
        """Apply the palette's colours to the curves, and the text size to the axis."""
        self.plot.getAxis("left").setWidth(axis_width())
        for name, curve in self.curves.items():
            width = 1 if curve.opts["antialias"] is False else style.CURVE_WIDTH
            curve.setPen(style.curve_pen(name, self._shown, width=width))
