"""Any two figures against each other, with the Pareto front."""

from typing import NamedTuple

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel

from qplayground.core.comparison.metrics import BY_KEY, METRICS, Metric, efficient
from qplayground.core.comparison.results import Run
from qplayground.ui.charts import style
from qplayground.ui.charts.comparison.comparison_chart import ComparisonChart
from qplayground.ui.charts.run_items import RunItems
from qplayground.ui.widgets import theme

_DOT = 12
_MARGIN = 0.06
"""Share of the axes, so that a dot at zero is fully visible."""


class _Dot(NamedTuple):
    """A run's point. `is_doubtful`: one of its two figures was disturbed."""

    across: float
    up: float
    text: str
    is_doubtful: bool


class TradeOffChart(ComparisonChart):
    """One dot per precision. The line is the Pareto front: no other precision beats its dots in both figures."""

    def __init__(self, across: str = "weight_bytes", up: str = "decode_tokens_per_s") -> None:
        """`across` and `up`: keys of the initial figures."""
        super().__init__("Two figures of every precision against each other")
        self.across = self._metric_box(across, "Across")
        self.up = self._metric_box(up, "Up")
        self.plot = self.view.addPlot()
        self.plot.showGrid(x=True, y=True, alpha=0.15)
        self._follow_mouse(self.plot, self.reading)
        self._front_line = pg.PlotCurveItem()
        self._front_line.setZValue(-1)  # below the dots
        self.plot.addItem(self._front_line)
        self.dots = RunItems(self.plot, self._draw_dot)
        row = QHBoxLayout()
        row.setContentsMargins(theme.GRID, theme.HALF_GRID, theme.GRID, 0)
        row.setSpacing(theme.GRID)
        for widget in (QLabel("Up"), self.up, QLabel("against"), self.across):
            row.addWidget(widget)
        row.addStretch()
        self.key = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.key.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        row.addWidget(self.key)
        self._column.insertLayout(0, row)
        self._paint()

    def _metric_box(self, key: str, name: str) -> QComboBox:
        box = QComboBox()
        box.setAccessibleName(name)
        for metric in METRICS:
            box.addItem(f"{metric.title} ({metric.unit})" if metric.unit else metric.title, metric.key)
        box.setCurrentIndex(box.findData(key))
        box.currentIndexChanged.connect(self._draw)
        return box

    @property
    def front(self) -> list[str]:
        """The precisions on the Pareto front, from left to right. Empty if a figure has no better direction."""
        points = [point for point in self._points() if not self._is_doubtful(point[0])]
        x, y = self._metrics()
        if x.more_is_better is None or y.more_is_better is None:
            return []
        order = efficient([place for _, place in points], x.more_is_better, y.more_is_better)
        return [points[index][0].id for index in order]

    def _is_doubtful(self, run: Run) -> bool:
        """Whether one of the two figures was disturbed. Such a dot is drawn, but left out of the front."""
        doubtful = self._spoilt(run)
        return any(metric.key in doubtful for metric in self._metrics())

    def _metrics(self) -> tuple[Metric, Metric]:
        return BY_KEY[self.across.currentData()], BY_KEY[self.up.currentData()]

    def _points(self) -> list[tuple[Run, tuple[float, float]]]:
        x, y = self._metrics()
        found = []
        for run in self._runs:
            across, up = self._read(x, run), self._read(y, run)
            if across is not None and up is not None:
                found.append((run, (across / _scale(x), up / _scale(y))))
        return found

    def _read(self, metric: Metric, run: Run) -> float | None:
        """The run's figure. The reference gets its distance from itself, so that others can be compared with it."""
        is_reference = any(other.quality is not None and other.quality.reference == run.id for other in self._runs)
        return metric.itself if is_reference and metric.itself is not None else metric.read(run)

    @Slot()
    def _draw(self) -> None:
        x, y = self._metrics()
        self.plot.setLabel("bottom", _axis(x))
        self.plot.setLabel("left", _axis(y))
        points = self._points()
        style.show_values(self.plot, bool(points))
        places = {run.id: place for run, place in points}
        front = self.front
        self._show_key(front if len(points) > 1 else [])
        line = np.array([places[name] for name in front]).reshape(-1, 2)
        self._front_line.setData(line[:, 0], line[:, 1])
        dots = {}
        for run, place in points:
            doubtful = self._is_doubtful(run)
            dots[run.id] = _Dot(*place, run.id + "*" * doubtful, doubtful)
        self.dots.show(dots)
        if points:
            self.plot.setXRange(0, 1.15 * max(across for _, (across, _) in points), padding=_MARGIN)
            self.plot.setYRange(0, 1.15 * max(up for _, (_, up) in points), padding=_MARGIN)

    def _draw_dot(self, name: str, dot: _Dot) -> list[pg.GraphicsObject]:
        hue = theme.color(name, theme.is_dark(self))
        label = style.label(dot.text, dot.across, dot.up, self, anchor=(0, 1))
        return [pg.ScatterPlotItem([dot.across], [dot.up], size=_DOT, **style.data_look(hue, dot.is_doubtful)), label]

    def _show_key(self, front: list[str]) -> None:
        parts = ["line: no other precision is better in both"] if len(front) > 1 else []
        parts += [f"{front[0]} beats or equals all others in both"] if len(front) == 1 else []
        parts += (
            ["pale and *: disturbed, see the notes; left out of the line"]
            if any(self._is_doubtful(run) for run, _ in self._points())
            else []
        )
        for run in self._runs:
            reasons = dict.fromkeys(filter(None, (metric.reason_missing(run) for metric in self._metrics())))
            parts += [f"{run.id} is not drawn: {' '.join(reasons)}"] if reasons else []
        self.key.setText(" · ".join(parts))

    def reading(self, x: float, y: float) -> str:
        """The values at the mouse position, in plot coordinates."""
        across, up = self._metrics()
        return f"{across.text(x * _scale(across))} · {up.text(y * _scale(up))}"

    def _paint(self) -> None:
        self._front_line.setPen(pg.mkPen(style.secondary(self), width=1.5))
        self.dots.clear()
        super()._paint()


def _scale(metric: Metric) -> float:
    return style.MEGABYTE if metric.unit == "bytes" else 1.0


def _axis(metric: Metric) -> str:
    unit = "MB" if metric.unit == "bytes" else metric.unit
    return f"{metric.title}, {unit}" if unit else metric.title
