"""Each precision's memory, predicted beside measured, split into what it is made of."""

from copy import copy
from typing import NamedTuple

import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QBrush, QColor, QPalette
from PySide6.QtWidgets import QVBoxLayout, QWidget

from qplayground.core.estimate import WeightKinds
from qplayground.core.placement import CPU
from qplayground.core.results import Comparison, MemoryFigures
from qplayground.core.units import bytes_text
from qplayground.ui import theme
from qplayground.ui.plots import style
from qplayground.ui.plots.chart import Chart

_HEIGHT = 0.4
_PREDICTED, _MEASURED = 0.21, -0.21
_LABEL_GAP = 0.02
_KINDS = (("quantized", 255), ("scales", 190), ("plain", 130), ("buffers", 130))
_KIND_NAMES = {
    "quantized": "quantized weights",
    "scales": "their scales and tables",
    "plain": "weights left alone",
    "buffers": "buffers",
}
_LIGHT = 60


class Segment(NamedTuple):
    """One part of a bar; `role` says how it is filled: a kind of weights, `runtime`, `beside` or `unexplained`."""

    name: str
    role: str
    num_bytes: int


class _Row(NamedTuple):
    """What a run's bars show, and at which height."""

    y: int
    memory: MemoryFigures


def predicted_segments(memory: MemoryFigures) -> list[Segment]:
    """What was reckoned before a weight was read; empty where it was not."""
    estimate = memory.predicted
    if estimate is None or estimate.resident_bytes is None or _is_on_gpu(memory):
        return []
    return [
        Segment("libraries", "runtime", estimate.runtime_bytes or 0),
        *_kinds(estimate.by_device.get(CPU, WeightKinds()) if estimate.by_device else estimate.by_kind),
        Segment("KV cache", "beside", estimate.kv_cache_bytes or 0),
        Segment("working memory", "beside", estimate.working_bytes),
    ]


def measured_segments(memory: MemoryFigures) -> list[Segment]:
    """The resident memory after loading, then after the run: what tensors account for, and what they do not."""
    if memory.resident_bytes is None:
        return []
    runtime = min(memory.runtime_bytes or 0, memory.resident_bytes)
    found = [Segment("libraries", "runtime", runtime)]
    found += _kinds(memory.ram_by_kind) if memory.ram_by_kind.total else []
    cache = memory.predicted.kv_cache_bytes if memory.predicted is not None else None
    if cache and memory.peak_resident_bytes is not None and not _is_on_gpu(memory):
        found.append(Segment("KV cache, as predicted", "beside", cache))
    left, fitting = memory.resident_bytes, []
    for segment in found:  # what was swapped out, or given back already, is not resident
        fitting.append(segment._replace(num_bytes=min(segment.num_bytes, left)))
        left -= fitting[-1].num_bytes
    return [*fitting, Segment("unexplained", "unexplained", left)]


class MemoryBars(Chart):
    """Two bars a precision: what was predicted, and below it what the system measured, with a tick at the peak.

    VRAM is named in the caption.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._comparison: Comparison | None = None
        self._drawn: dict[str, _Row | None] = {}
        self._items: dict[str, list[pg.GraphicsObject]] = {}
        self.view = pg.GraphicsLayoutWidget()
        self.view.setAccessibleName("Memory of each precision, predicted and measured, by what it is made of")
        self._plot = self.view.addPlot()
        self._plot.setLabel("bottom", "RAM, MB")
        self._plot.setMouseEnabled(x=True, y=False)
        self._plot.setMenuEnabled(False)
        self._plot.showGrid(x=True, y=False, alpha=0.15)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self._paint()

    def show_comparison(self, comparison: Comparison | None) -> None:
        """Draw the memory of every run that has some."""
        self._comparison = comparison
        self._draw()

    def _draw(self) -> None:
        """Draw those that have changed: each takes twenty items, while an engine wants the processor."""
        runs = [] if self._comparison is None else self._comparison.runs
        rows = {run.precision: _Row(len(runs) - 1 - row, copy(run.memory)) for row, run in enumerate(runs)}
        for name in [name for name in self._drawn if self._drawn[name] != rows.get(name)]:
            for item in self._items.pop(name):
                self._plot.removeItem(item)
            del self._drawn[name]
        for name, row in rows.items():
            if name not in self._drawn:
                self._items[name] = []
                self._draw_run(name, row)
                self._drawn[name] = row
        ticks = [(row.y, name) for name, row in rows.items()]
        highest = max((run.memory.peak_resident_bytes or run.memory.resident_bytes or 0 for run in runs), default=0)
        self._plot.getAxis("left").setTicks([ticks])
        self._plot.getAxis("bottom").setStyle(showValues=highest > 0)  # a scale without data would be made up
        self._plot.setXRange(0, max(highest / style.MEGABYTE, 1) * 1.9, padding=0)
        self._plot.setYRange(-0.6, max(len(runs), 1) - 0.4, padding=0)

    def _draw_run(self, name: str, row: _Row) -> None:
        y, memory = row
        measured = measured_segments(memory)
        if not measured:
            return
        hue = theme.color(name, theme.is_dark(self))
        items = self._items[name]
        predicted, _ = self._bar(predicted_segments(memory), "predicted", hue, y + _PREDICTED)
        items += predicted
        bar, right = self._bar(measured, "measured", hue, y + _MEASURED)
        items += bar
        if memory.peak_resident_bytes is not None:
            x = memory.peak_resident_bytes / style.MEGABYTE
            middle = y + _MEASURED
            line = pg.PlotCurveItem(
                [x, x], [middle - _HEIGHT / 2, middle + _HEIGHT / 2], pen=pg.mkPen(self._text(), width=2)
            )
            items.append(line)
            right = max(right, x)
        label = pg.TextItem(_caption(memory), color=self._text(), anchor=(0, 0.5))
        label.setFont(style.tick_font(self))
        label.setPos(right * (1 + _LABEL_GAP), y)
        items.append(label)
        for item in items:
            self._plot.addItem(item)

    def _bar(self, segments: list[Segment], what: str, hue: QColor, y: float) -> tuple[list[pg.GraphicsObject], float]:
        """Its parts, and where it ends."""
        parts: list[pg.GraphicsObject] = []
        left = 0.0
        for segment in segments:
            if segment.num_bytes == 0:
                continue
            width = segment.num_bytes / style.MEGABYTE
            part = pg.BarGraphItem(
                x0=left, y0=y - _HEIGHT / 2, width=width, height=_HEIGHT, brush=self._brush(segment, hue), pen=None
            )
            part.setToolTip(f"{what}: {bytes_text(segment.num_bytes)} {segment.name}")
            parts.append(part)
            left += width
        return parts, left

    def _brush(self, segment: Segment, hue: QColor) -> QBrush:
        if segment.role == "runtime":
            return QBrush(style.faded(style.secondary(self), 70))
        if segment.role == "unexplained":
            return QBrush(style.secondary(self), Qt.BrushStyle.BDiagPattern)
        return QBrush(style.faded(hue, dict(_KINDS).get(segment.role, _LIGHT)))

    def _text(self) -> QColor:
        return self.palette().color(QPalette.ColorRole.Text)

    def _paint(self) -> None:
        super()._paint()
        self.view.setBackground(self.palette().color(QPalette.ColorRole.Base))
        style.paint(self._plot, self)
        self._plot.getAxis("left").setStyle(tickLength=0)
        self._plot.getAxis("left").setPen(pg.mkPen(QColor(Qt.GlobalColor.transparent)))
        self._drawn = dict.fromkeys(self._drawn)  # in other colours
        self._draw()


def _kinds(kinds: WeightKinds) -> list[Segment]:
    return [Segment(_KIND_NAMES[kind], kind, getattr(kinds, kind)) for kind, _ in _KINDS]


def _is_on_gpu(memory: MemoryFigures) -> bool:
    return memory.vram_allocated_bytes is not None


def _caption(memory: MemoryFigures) -> str:
    predicted = None if memory.predicted is None else memory.predicted.resident_bytes
    parts = [bytes_text(memory.resident_bytes)]
    if predicted is not None and not _is_on_gpu(memory):
        parts.append(f"predicted {bytes_text(predicted)}")
    if memory.vram_peak_bytes is not None:
        parts.append(f"VRAM {bytes_text(memory.vram_peak_bytes)}")
    return ", ".join(parts)
