"""Each precision's memory, split into what it is made of."""

import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QVBoxLayout, QWidget

from qplayground.core.results import Comparison, MemoryFigures
from qplayground.core.units import bytes_text
from qplayground.ui import theme
from qplayground.ui.plots import style
from qplayground.ui.plots.chart import Chart

_HEIGHT = 0.56
_LABEL_GAP = 0.02


class MemoryBars(Chart):
    """One bar a precision: weights, what else the model needed, and the libraries' own share; a tick at the peak.

    The three add up to the resident RAM of the engine after loading, then after its run. VRAM is named in the caption.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._comparison: Comparison | None = None
        self._view = pg.GraphicsLayoutWidget()
        self._view.setAccessibleName("Memory of each precision, split into weights, working memory and libraries")
        self._plot = self._view.addPlot()
        self._plot.setLabel("bottom", "RAM, MB")
        self._plot.setMouseEnabled(x=False, y=False)
        self._plot.setMenuEnabled(False)
        self._plot.hideButtons()
        self._plot.showGrid(x=True, y=False, alpha=0.15)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)
        self._paint()

    def show_comparison(self, comparison: Comparison | None) -> None:
        """Draw the memory of every run that has some."""
        self._comparison = comparison
        self._draw()

    def _draw(self) -> None:
        self._plot.clear()
        runs = [] if self._comparison is None else self._comparison.runs
        ticks = []
        for row, run in enumerate(runs):
            y = len(runs) - 1 - row
            ticks.append((y, run.precision))
            self._draw_bar(run.precision, run.memory, y)
        highest = max((run.memory.peak_resident_bytes or run.memory.resident_bytes or 0 for run in runs), default=0)
        self._plot.getAxis("left").setTicks([ticks])
        self._plot.getAxis("bottom").setStyle(showValues=highest > 0)  # a scale without data would be made up
        self._plot.setXRange(0, max(highest / style.MEGABYTE, 1) * 1.6, padding=0)
        self._plot.setYRange(-0.6, max(len(runs), 1) - 0.4, padding=0)

    def _draw_bar(self, name: str, memory: MemoryFigures, y: float) -> None:
        if memory.resident_bytes is None:
            return
        dark = theme.is_dark(self)
        hue = theme.color(name, dark)
        left = 0.0
        for num_bytes, color in self._segments(memory, hue):
            width = num_bytes / style.MEGABYTE
            self._plot.addItem(
                pg.BarGraphItem(x0=left, y0=y - _HEIGHT / 2, width=width, height=_HEIGHT, brush=color, pen=None)
            )
            left += width
        peak = memory.peak_resident_bytes
        if peak is not None:
            x = peak / style.MEGABYTE
            line = pg.PlotCurveItem([x, x], [y - _HEIGHT / 2, y + _HEIGHT / 2], pen=pg.mkPen(self._text(), width=2))
            self._plot.addItem(line)
            left = max(left, x)
        label = pg.TextItem(_caption(memory), color=self._text(), anchor=(0, 0.5))
        label.setFont(style.tick_font(self))
        label.setPos(left * (1 + _LABEL_GAP), y)
        self._plot.addItem(label)

    def _segments(self, memory: MemoryFigures, hue: QColor) -> list[tuple[int, QColor]]:
        runtime = memory.runtime_bytes or 0
        on_gpu = memory.vram_allocated_bytes is not None
        weights = 0 if on_gpu else max(0, min(memory.weight_bytes or 0, (memory.resident_bytes or 0) - runtime))
        rest = max(0, (memory.resident_bytes or 0) - runtime - weights)
        return [(weights, hue), (rest, style.faded(hue, 110)), (runtime, style.faded(style.secondary(self), 70))]

    def _text(self) -> QColor:
        return self.palette().color(QPalette.ColorRole.Text)

    def _paint(self) -> None:
        super()._paint()
        self._view.setBackground(self.palette().color(QPalette.ColorRole.Base))
        style.paint(self._plot, self)
        self._plot.getAxis("left").setStyle(tickLength=0)
        self._plot.getAxis("left").setPen(pg.mkPen(QColor(Qt.GlobalColor.transparent)))
        self._draw()


def _caption(memory: MemoryFigures) -> str:
    runtime = memory.runtime_bytes or 0
    model = (memory.resident_bytes or 0) - runtime
    vram = f" · VRAM {bytes_text(memory.vram_peak_bytes)}" if memory.vram_peak_bytes is not None else ""
    return f"{bytes_text(model)} + {bytes_text(runtime)}{vram}"
