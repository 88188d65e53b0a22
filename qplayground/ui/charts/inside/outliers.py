"""Which input dimensions of a layer are outliers: each one's largest magnitude, and a threshold to drag."""

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QPalette

from qplayground.core.units import significant
from qplayground.ui.charts import style
from qplayground.ui.charts.axes import CountAxis, DecadeAxis
from qplayground.ui.charts.chart import Chart
from qplayground.ui.widgets import theme

DEFAULT_THRESHOLD = 6.0
"""LLM.int8()'s own."""
_QUIET, _OUTLIER = "bf16", "fp4"
"""The precisions whose hues they have."""
_FLOOR = 1e-3
"""Of the largest magnitude: where the logarithmic axis ends, since a logarithm needs something."""
_HEADROOM = 1.08


class OutliersPlot(Chart):
    """A line a dimension. Those that reach the threshold are outliers, in a colour of their own; 0 makes none.

    Signal: `threshold_dragged(float)` while a person moves the line.
    """

    threshold_dragged = Signal(float)

    def __init__(self) -> None:
        super().__init__("Largest magnitude of each input dimension")
        self._module = ""
        self._magnitudes: NDArray[np.float32] = np.empty(0, np.float32)
        self._threshold = DEFAULT_THRESHOLD
        self._top = DEFAULT_THRESHOLD
        self._logarithmic = False
        axes = {"left": DecadeAxis("left"), "bottom": CountAxis("bottom")}
        self.plot = self.view.addPlot(axisItems=axes, labels={"bottom": "input dimension", "left": "largest magnitude"})
        self.plot.showGrid(x=False, y=True, alpha=0.15)
        self.plot.setMouseEnabled(x=True, y=False)
        self._quiet = pg.PlotCurveItem(connect="pairs")
        self._outliers = pg.PlotCurveItem(connect="pairs")
        self._default = pg.InfiniteLine(
            angle=0,
            label=f"LLM.int8()'s default {DEFAULT_THRESHOLD}",
            labelOpts={"position": 0.99, "anchors": [(1, 1), (1, 1)]},
        )
        self.line = pg.InfiniteLine(
            angle=0, movable=True, label="threshold", labelOpts={"position": 0.06, "anchors": [(0, 1), (0, 1)]}
        )
        self.line.sigDragged.connect(self._on_dragged)
        for item in (self._quiet, self._outliers):
            self.plot.addItem(item)
        for line in (self._default, self.line):
            self.plot.addItem(line, ignoreBounds=True)
        self._follow_mouse(self.plot, self.reading)
        self._paint()

    @property
    def outliers(self) -> list[int]:
        """The dimensions that reach the threshold."""
        return np.flatnonzero(outliers_at(self._magnitudes, self._threshold)).tolist()

    def show_magnitudes(self, module: str, magnitudes: NDArray[np.float32], top: float) -> None:
        """Draw those of a layer. `top` is the highest threshold that can be chosen."""
        self._module, self._magnitudes, self._top = module, magnitudes, top
        self.plot.setLimits(xMin=-1, xMax=max(1, len(magnitudes)))
        self.plot.setXRange(-1, max(1, len(magnitudes)), padding=0)
        self._draw()

    def set_threshold(self, threshold: float) -> None:
        """Move the line there."""
        self._threshold = threshold
        self._draw()

    def set_logarithmic(self, logarithmic: bool) -> None:
        """Show magnitudes by their logarithm, where a few dwarf the others."""
        self._logarithmic = logarithmic
        self._draw()

    def table(self) -> list[list[object]]:
        """What is drawn, for a file."""
        if not len(self._magnitudes):
            return []
        outliers = set(self.outliers)
        heading: list[object] = ["layer", "input dimension", "largest magnitude", f"outlier at {self._threshold}"]
        return [
            heading,
            *(
                [self._module, place, magnitude, int(place in outliers)]
                for place, magnitude in enumerate(self._magnitudes.tolist())
            ),
        ]

    def _height(self, value: float) -> float:
        """Where a magnitude is on the axis."""
        return float(np.log10(max(value, self._bottom))) if self._logarithmic else value

    @property
    def _bottom(self) -> float:
        return _FLOOR * self._top if self._logarithmic else 0.0

    def _draw(self) -> None:
        self.plot.setLogMode(x=False, y=self._logarithmic)
        heights = np.maximum(self._magnitudes, self._bottom).astype(np.float64)
        heights = np.log10(heights) if self._logarithmic else heights
        is_outlier = outliers_at(self._magnitudes, self._threshold)
        for item, chosen in ((self._quiet, ~is_outlier), (self._outliers, is_outlier)):
            places = np.flatnonzero(chosen)
            stems = np.full(2 * len(places), self._height(self._bottom))
            stems[1::2] = heights[places]
            item.setData(np.repeat(places, 2), stems)
        self.line.setBounds((self._height(self._bottom), self._height(self._top)))
        self.line.setPos(self._height(self._threshold))
        self._default.setPos(self._height(DEFAULT_THRESHOLD))
        top = self._height(self._top * _HEADROOM ** (3 if self._logarithmic else 1))
        self.plot.setYRange(self._height(self._bottom), top, padding=0)

    @Slot()
    def _on_dragged(self) -> None:
        value = float(self.line.value())
        value = 10**value if self._logarithmic else value
        self.threshold_dragged.emit(min(max(value, 0.0), self._top))

    def reading(self, x: float, _y: float) -> str:
        """What is said of the spot under the mouse, in the plot's coordinates; empty where there is nothing."""
        place = round(x)
        if not 0 <= place < len(self._magnitudes):
            return ""
        said = ", an outlier" if outliers_at(self._magnitudes, self._threshold)[place] else ""
        return f"dimension {place:,}: at most {significant(float(self._magnitudes[place]))}{said}"

    def _paint(self) -> None:
        dark, text = theme.is_dark(self), self.palette().color(QPalette.ColorRole.Text)
        self._quiet.setPen(pg.mkPen(theme.color(_QUIET, dark), width=1))
        self._outliers.setPen(pg.mkPen(theme.color(_OUTLIER, dark), width=2))
        self.line.setPen(pg.mkPen(text, width=2))
        self.line.setHoverPen(pg.mkPen(theme.color(_OUTLIER, dark), width=3))
        self.line.label.setColor(text)
        self._default.setPen(pg.mkPen(style.secondary(self), width=1, style=Qt.PenStyle.DashLine))
        self._default.label.setColor(style.secondary(self))
        super()._paint()


def outliers_at(magnitudes: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Which dimensions reach the threshold; 0 makes none. As bitsandbytes counts them, which compares in float16."""
    if threshold <= 0:
        return np.zeros(len(magnitudes), bool)
    with np.errstate(over="ignore"):  # what float16 cannot hold is infinite there too
        return np.asarray(magnitudes.astype(np.float16) >= np.float16(threshold))
