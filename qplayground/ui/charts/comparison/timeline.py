"""Each engine's memory over time."""

from collections.abc import Collection

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QTimer, Slot
from PySide6.QtGui import QPalette, QShowEvent

from qplayground.core.memory.process_memory import MemorySample
from qplayground.core.messages.events import Phase, PhaseStarted
from qplayground.core.units import bytes_text
from qplayground.ui.charts import style
from qplayground.ui.charts.chart import Chart
from qplayground.ui.charts.comparison.memory_plot import MemoryPlot, axis_width
from qplayground.ui.charts.comparison.phase_lane import PhaseLane
from qplayground.ui.widgets import theme

_REFRESH_MS = 250
_TIMED_REFRESH_MS = 1000  # drawing takes CPU time from the timed engine
_UNTIMED = (Phase.START, Phase.CHECK)
_LANE_HEIGHT = 22
_LANE_ROW_HEIGHT = 14
_LEGEND_COLUMNS = 8
_LEGEND_ROW_HEIGHT = 22
_RAM_ROW = 2
_END = 8
"""Size of the markers at the ends of a predicted level, which tell it from a curve."""
_LEAST_HEIGHT = 80
"""Minimum height per plot if there are several. The tab scrolls then."""
_X_LABEL = "seconds since the comparison began; ◇–◇ predicted"


class MemoryTimeline(Chart):
    """Resident RAM over time, one curve per precision. Each GPU gets its own plot when first used."""

    def __init__(self) -> None:
        pg.setConfigOptions(antialias=True)  # global; this is the first chart
        super().__init__("Memory of each engine over time")
        self._began_s: float | None = None
        self.gpus: dict[str, MemoryPlot] = {}
        self._levels: dict[str, float] = {}
        self.level_lines: dict[str, pg.PlotDataItem] = {}
        self._stale = False
        self._follows = True
        self._timer = QTimer(self, interval=_REFRESH_MS)
        self._timer.timeout.connect(self._on_refresh)
        self._build()
        self._paint()

    def _build(self) -> None:
        self.view.ci.layout.setContentsMargins(0, 0, theme.GRID, 0)  # leave the room to the curves
        self.view.ci.layout.setVerticalSpacing(0)
        self.legend = pg.LegendItem(colCount=_LEGEND_COLUMNS, pen=None, brush=None)
        self.view.addItem(self.legend, row=0, col=0)  # above the plot, to cover no data
        lane_plot = self.view.addPlot(row=1, col=0, enableMenu=False)
        lane_plot.hideAxis("bottom")
        lane_plot.getAxis("left").setStyle(showValues=False, tickLength=0)
        lane_plot.setMouseEnabled(x=True, y=False)
        lane_plot.setYRange(0, 1, padding=0)
        lane_plot.hideButtons()
        self.lane = PhaseLane(self)
        lane_plot.addItem(self.lane, ignoreBounds=True)
        self.plot = self.view.addPlot(row=_RAM_ROW, col=0, labels={"bottom": _X_LABEL})
        self.ram = MemoryPlot(self.plot, "RAM, MB", self)
        self._lane_plot = lane_plot
        lane_plot.setXLink(self.plot)
        self._listen(self.plot)
        self._cursor = pg.InfiniteLine(angle=90, movable=False)
        self.plot.addItem(self._cursor, ignoreBounds=True)
        self._cursor.hide()
        self.plot.scene().sigMouseMoved.connect(self._on_mouse_moved)

    def _listen(self, plot: pg.PlotItem) -> None:
        plot.vb.sigRangeChangedManually.connect(self._on_range_changed_by_hand)
        plot.autoBtn.clicked.connect(self._follow)

    @property
    def _memory_plots(self) -> list[MemoryPlot]:
        return [self.ram, *self.gpus.values()]

    @Slot()
    def _follow(self) -> None:
        """Let the axes grow with the data, until the user pans or zooms."""
        self._follows = True
        for each in self._memory_plots:
            each.start_over()
        self._touch()

    @Slot()
    def _on_range_changed_by_hand(self) -> None:
        self._follows = False

    # ---- events ----------------------------------------------------------------------------------------------

    def clear(self, began_s: float | None = None) -> None:
        """Remove the last comparison. `began_s`: start of the next; by default its first event."""
        for each in self._memory_plots:
            each.clear()
        self.legend.clear()
        self._follow()
        self._began_s = began_s
        self._levels.clear()
        self._draw_levels()
        self.lane.clear()

    @Slot(str, object)
    def add_samples(self, name: str, samples: list[MemorySample]) -> None:
        """Add an engine's samples, in order."""
        for sample in samples:
            if sample.memory.resident_bytes == 0:  # already freed by the system: the process is ending
                continue
            time_s = self._since_start(sample.time_s)
            self.ram.add(name, time_s, sample.memory.resident_bytes)
            for gpu, num_bytes in sample.vram.items():
                self._gpu(gpu).add(name, time_s, num_bytes)
        if name in self.ram.series:
            self.lane.end(name, self.ram.series[name].times_s[-1])
        self._touch()

    @Slot(str, object)
    def begin_phase(self, name: str, event: PhaseStarted) -> None:
        """Mark the start of a phase."""
        now_s = self._since_start(event.time_s)
        self.lane.begin(name, event.phase, now_s)
        if event.phase is Phase.START:  # a new engine of that name: do not connect it to the old curve
            for each in self._memory_plots:
                each.break_off(name, now_s)
        self._timer.setInterval(_REFRESH_MS if event.phase in _UNTIMED else _TIMED_REFRESH_MS)
        self._touch()

    def forget(self, name: str) -> None:
        """Remove an engine's curve and phases, because its measurements are obsolete."""
        self.keep_only({*self.ram.series, *(span.name for span in self.lane.spans)} - {name})

    def keep_only(self, names: Collection[str]) -> None:
        """Remove all other engines."""
        known = {*self.ram.series, *(span.name for span in self.lane.spans)}
        for name in known.difference(names):
            self._levels.pop(name, None)
            self.lane.forget(name)
            for each in self._memory_plots:
                each.forget(name)
        self.legend.clear()  # removing a single item would leave a gap
        for name, curve in self.ram.curves.items():
            self.legend.addItem(curve, name)
        self._fit_legend()
        self._paint()
        self._touch()

    def set_level(self, name: str, num_bytes: int | None) -> None:
        """Draw an engine's predicted memory as a line. None removes it."""
        if num_bytes is None:
            self._levels.pop(name, None)
        else:
            self._levels[name] = num_bytes / style.MEGABYTE
        self._touch()

    def end_phases(self, name: str) -> None:
        """The engine is idle. If it keeps its model, its memory is still drawn, but no phase."""
        self.lane.close(name)

    def _since_start(self, time_s: float) -> float:
        if self._began_s is None:
            self._began_s = time_s
        return max(0.0, time_s - self._began_s)

    def _touch(self) -> None:
        self._stale = True
        if not self._timer.isActive():
            self._timer.start()

    # ---- drawing ---------------------------------------------------------------------------------------------

    def show_all(self) -> None:
        """Fit the axes to the data at the end of a comparison."""
        if self._follows and self.ram.series:
            latest_s = max(samples.times_s[-1] for samples in self.ram.series.values())
            self.plot.setXRange(0, max(latest_s, 1.0) * 1.02, padding=0)

    @Slot()
    def _on_refresh(self) -> None:
        if not self._stale or not self.isVisible():
            self._timer.stop()
            return
        self._stale = False
        self.lane.refresh()
        self._fit_lane()
        for name in self.ram.draw():
            self.legend.addItem(self.ram.curves[name], name)
            self._fit_legend()
        self._draw_levels()
        for gpu in self.gpus.values():
            gpu.draw()
        if self._follows:
            self.ram.make_room(max(self._levels.values(), default=0.0))
            for gpu in self.gpus.values():
                gpu.make_room()

    def showEvent(self, event: QShowEvent) -> None:
        self._on_refresh()
        super().showEvent(event)

    def _draw_levels(self) -> None:
        for name in [name for name in self.level_lines if name not in self._levels]:
            self.plot.removeItem(self.level_lines.pop(name))
        for name, level in self._levels.items():
            if name not in self.ram.series:
                continue
            if name not in self.level_lines:
                self.level_lines[name] = pg.PlotDataItem(symbol="d", symbolSize=_END)
                self._paint_level(name)
                self.plot.addItem(self.level_lines[name], ignoreBounds=True)
            times = self.ram.series[name].times_s
            self.level_lines[name].setData([times[0], times[-1]], [level, level])

    def _paint_level(self, name: str) -> None:
        line = self.level_lines[name]
        line.setPen(style.level_pen(name, self))
        line.setSymbolPen(style.level_pen(name, self))
        line.setSymbolBrush(self.palette().color(QPalette.ColorRole.Base))

    def _fit_legend(self) -> None:
        rows = -(-len(self.ram.curves) // _LEGEND_COLUMNS)
        self.legend.setFixedHeight(round(rows * _LEGEND_ROW_HEIGHT * theme.text_scale()))

    def _fit_lane(self) -> None:
        height = max(_LANE_HEIGHT, self.lane.rows * _LANE_ROW_HEIGHT)
        self._lane_plot.setFixedHeight(round(height * theme.text_scale()))

    def _gpu(self, name: str) -> MemoryPlot:
        """The GPU's plot, created on first use."""
        if name not in self.gpus:
            plot = self.view.addPlot(row=_RAM_ROW + 1 + len(self.gpus), col=0)
            self._memory_plots[-1].plot.hideAxis("bottom")  # only the lowest plot has it
            self.gpus[name] = MemoryPlot(plot, f"{name}, MB", self)
            plot.setLabel("bottom", _X_LABEL)
            plot.setXLink(self.plot)
            self._listen(plot)
            self._paint()
            self.view.setMinimumHeight(_LEAST_HEIGHT * (2 + len(self.gpus)))
        return self.gpus[name]

    @Slot(object)
    def _on_mouse_moved(self, position: object) -> None:
        inside = any(plot.sceneBoundingRect().contains(position) for plot in (self.plot, self._lane_plot))
        self._cursor.setVisible(inside)
        if not inside:
            self._say(_X_LABEL)
            return
        time_s = self.plot.vb.mapSceneToView(position).x()
        self._cursor.setPos(time_s)
        self._say(self.reading(time_s))

    def _say(self, text: str) -> None:
        """Replace the lowest axis label, which also shows the values under the mouse. This saves a line."""
        axis = self._memory_plots[-1].plot.getAxis("bottom")
        if axis.labelText != text:
            axis.setLabel(text)

    def reading(self, time_s: float) -> str:
        """The engines working at this time, with their memory."""
        parts = [f"{time_s:.2f} s"]
        for span in self.lane.spans_at(time_s):
            samples = self.ram.series.get(span.name)
            if samples is not None and len(samples.times_s):
                index = min(int(np.searchsorted(samples.times_s, time_s)), len(samples.times_s) - 1)
                amount = samples.megabytes[index] * style.MEGABYTE
                if not np.isnan(amount):
                    parts.append(f"{span.name} · {span.phase} · {bytes_text(int(amount))}")
        return "  |  ".join(parts)

    def _paint(self) -> None:
        super()._paint()
        self._lane_plot.getAxis("left").setWidth(axis_width())
        self._fit_lane()
        self._fit_legend()
        self._cursor.setPen(pg.mkPen(style.secondary(self)))
        for each in self._memory_plots:
            each.paint()
        style.paint_legend(self.legend, self)
        for name in self.level_lines:
            self._paint_level(name)
        self._lane_plot.getAxis("left").setPen(pg.mkPen(theme.palette(theme.is_dark(self)).base().color()))
        self.lane.update()
