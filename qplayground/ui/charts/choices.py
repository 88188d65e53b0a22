"""A bar chart that compares a few choices. Bars can be stacked."""

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics

from qplayground.core.units import significant
from qplayground.ui.charts import style
from qplayground.ui.charts.chart import Chart
from qplayground.ui.widgets import theme

_PARTS = ("bf16", "int8", "nf4", "fp4")
"""The precisions whose hues colour the parts of a bar, in order."""
_THICK = 0.6
_MOST_NAME = 260
"""Maximum width of a name, in pixels."""
_ROOM = 1.18
"""Axis length relative to the longest bar, which leaves room for its figure."""


class ChoicesChart(Chart):
    """Horizontal bars, the first choice on top, each with its figure at the end."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._unit = ""
        self._parts: tuple[str, ...] = ()
        self._bars: list[tuple[str, tuple[float, ...]]] = []
        self.plot = self.view.addPlot(enableMenu=False)
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.hideButtons()
        self.plot.showGrid(x=True, y=False, alpha=0.15)
        self.plot.addLegend(offset=(-8, 8))
        self._paint()

    def show_bars(self, unit: str, bars: Sequence[tuple[str, tuple[float, ...]]], parts: Sequence[str] = ()) -> None:
        """Show bars: a name and the lengths of its parts in `unit`. `parts` names the parts of stacked bars."""
        self._unit, self._bars, self._parts = unit, list(bars), tuple(parts)
        self._draw()

    def table(self) -> list[list[object]]:
        """The drawn data, for saving."""
        names = self._parts or ("value",)
        return [
            ["choice", *(f"{name}, {self._unit}" for name in names)],
            *([name, *parts] for name, parts in self._bars),
        ]

    def _draw(self) -> None:
        self.plot.clear()
        self.plot.setLabel("bottom", self._unit)
        count, dark = len(self._bars), theme.is_dark(self)
        places = [count - 1 - place for place in range(count)]
        self._write_names(places)
        widest = max((len(parts) for _, parts in self._bars), default=0)
        starts = np.zeros(count)
        for part in range(widest):
            lengths = np.array([parts[part] if part < len(parts) else 0.0 for _, parts in self._bars])
            name = self._parts[part] if part < len(self._parts) else None
            brush = theme.color(_PARTS[part % len(_PARTS)], dark)
            bars = pg.BarGraphItem(x0=starts, width=lengths, y=places, height=_THICK, brush=brush, pen=None, name=name)
            self.plot.addItem(bars)
            starts = starts + lengths
        for place, total in zip(places, starts, strict=True):
            self.plot.addItem(style.label(significant(float(total)), float(total), place, self))
        longest = float(starts.max(initial=0.0))
        self.plot.setXRange(0, _ROOM * longest or 1, padding=0)
        self.plot.setYRange(-0.6, max(0.0, count - 1) + (1.2 if self._parts else 0.6), padding=0)

    def _write_names(self, places: list[int]) -> None:
        """Set the names and reserve their width: the axis would measure them only while drawing, which is too late."""
        axis, metrics = self.plot.getAxis("left"), QFontMetrics(style.tick_font(self))
        names = [metrics.elidedText(name, Qt.TextElideMode.ElideRight, _MOST_NAME) for name, _ in self._bars]
        axis.setWidth(max(map(metrics.horizontalAdvance, names), default=0) + 2 * theme.GRID)
        axis.setTicks([list(zip(places, names, strict=True))])
