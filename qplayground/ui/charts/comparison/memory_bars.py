"""Each precision's memory, predicted and measured, split into its parts."""

from copy import copy
from typing import NamedTuple

import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QBrush, QColor, QPalette
from PySide6.QtWidgets import QWidget

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.memory_segments import KINDS, RAM, Place, Segment
from qplayground.core.comparison.results import MemoryFigures
from qplayground.core.units import bytes_text
from qplayground.ui.charts import style
from qplayground.ui.charts.comparison.comparison_chart import ComparisonChart
from qplayground.ui.charts.run_items import RunItems
from qplayground.ui.widgets import theme

_HEIGHT = 0.4
_PREDICTED, _MEASURED = 0.21, -0.21
_LABEL_GAP = 0.02
_FILLS = dict(zip(KINDS, (255, 190, 130, 130), strict=True))
_LIGHT = 60


class _Row(NamedTuple):
    """The data and row of a run's bars. `reason`: why there are none."""

    y: int
    memory: MemoryFigures
    reason: str


def part_brush(role: str, hue: QColor, shown: QWidget) -> QBrush:
    """The fill of a part. Libraries are dotted, because grey could be fp32's hue, which is black or white."""
    if role == "runtime":
        return QBrush(style.secondary(shown), Qt.BrushStyle.Dense6Pattern)
    if role == "unexplained":
        return QBrush(style.secondary(shown), Qt.BrushStyle.BDiagPattern)
    return QBrush(style.faded(hue, _FILLS.get(role, _LIGHT)))


def part_pen(role: str, shown: QWidget) -> object:
    """The outline of a part. Only patterned parts have one."""
    return pg.mkPen(style.secondary(shown), width=1) if role in ("runtime", "unexplained") else pg.mkPen(None)


class MemoryBars(ComparisonChart):
    """Two bars per precision: predicted, and below it measured, with a tick at the peak."""

    def __init__(self, place: Place = RAM) -> None:
        super().__init__("Memory of each precision, predicted and measured, by what it is made of")
        self._place = place
        self.plot = self.view.addPlot(labels={"bottom": place.label}, enableMenu=False)
        self.plot.setMouseEnabled(x=True, y=False)
        self.plot.showGrid(x=True, y=False, alpha=0.15)
        self.items = RunItems(self.plot, self._draw_run)
        self._paint()

    def _draw(self) -> None:
        runs = self._runs
        rows = {
            run.id: _Row(len(runs) - 1 - row, copy(run.memory), run.lacks.get(Capability.MEMORY, ""))
            for row, run in enumerate(runs)
        }
        self.items.show(rows)
        highest = max((self._highest(run.memory) for run in runs), default=0)
        self._fit_rows(self.plot, highest, max(highest / style.MEGABYTE, 1) * 1.9)

    def _highest(self, memory: MemoryFigures) -> int:
        bars = (self._place.predicted(memory), self._place.measured(memory))
        return max(self._place.peak(memory) or 0, *(sum(part.num_bytes for part in bar) for bar in bars))

    def _draw_run(self, name: str, row: _Row) -> list[pg.GraphicsObject]:
        y, memory, reason = row
        measured = self._place.measured(memory)
        if not measured:
            if not reason:
                return []
            dash = style.label("–", 0, y, self)
            dash.setToolTip(theme.tip(reason))
            return [dash]
        hue = theme.color(name, theme.is_dark(self))
        items, right = self._bar(self._place.predicted(memory), "predicted", hue, y + _PREDICTED)
        bar, end = self._bar(measured, "measured", hue, y + _MEASURED)
        items += bar
        right = max(right, end)
        peak = self._place.peak(memory)
        if peak is not None:
            x = peak / style.MEGABYTE
            middle = y + _MEASURED
            pen = pg.mkPen(self.palette().color(QPalette.ColorRole.Text), width=2)
            items.append(pg.PlotCurveItem([x, x], [middle - _HEIGHT / 2, middle + _HEIGHT / 2], pen=pen))
            right = max(right, x)
        return [*items, style.label(self._place.caption(memory), right * (1 + _LABEL_GAP), y, self)]

    def _bar(self, segments: list[Segment], what: str, hue: QColor, y: float) -> tuple[list[pg.GraphicsObject], float]:
        """The items of one bar, and its right end."""
        parts: list[pg.GraphicsObject] = []
        left = 0.0
        for segment in segments:
            if segment.num_bytes == 0:
                continue
            width = segment.num_bytes / style.MEGABYTE
            part = pg.BarGraphItem(
                x0=left,
                y0=y - _HEIGHT / 2,
                width=width,
                height=_HEIGHT,
                brush=part_brush(segment.role, hue, self),
                pen=part_pen(segment.role, self),
            )
            part.setToolTip(f"{what}: {bytes_text(segment.num_bytes)} {segment.name}")
            parts.append(part)
            left += width
        return parts, left

    def _paint(self) -> None:
        self.items.clear()
        super()._paint()
        self._hide_left_axis(self.plot)
