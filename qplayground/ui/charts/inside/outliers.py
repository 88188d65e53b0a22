"""The outlier dimensions of a layer's input: each dimension's largest magnitude, and a draggable threshold."""

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
"""LLM.int8()'s default."""
_QUIET, _OUTLIER = "bf16", "fp4"
"""The precisions whose hues are used."""
_FLOOR = 1e-3
"""Lower end of the logarithmic axis, relative to the highest threshold."""
_HEADROOM = 1.08


class OutliersPlot(Chart):
    """One line per dimension. Those that reach the threshold are outliers and have another colour; 0 disables outliers.

    Signal: `threshold_dragged(float)` while the user drags the threshold.
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
        """Draw a layer's magnitudes. `top`: the highest possible threshold."""
        self._module, self._magnitudes, self._top = module, magnitudes, top
        self.plot.setLimits(xMin=-1, xMax=max(1, len(magnitudes)))
        self.plot.setXRange(-1, max(1, len(magnitudes)), padding=0)
        self._draw()

    def set_threshold(self, threshold: float) -> None:
        """Set the threshold."""
        self._threshold = threshold
        self._draw()

    def set_logarithmic(self, logarithmic: bool) -> None:
        """Use a logarithmic axis, for layers where a few magnitudes dwarf the others."""
        self._logarithmic = logarithmic
        self._draw()

    def table(self) -> list[list[object]]:
        """The drawn data, for saving."""
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
        """The position of a magnitude on the axis."""
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
        """The text for the mouse position, in plot coordinates; empty if there is nothing."""
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
    """Which dimensions reach the threshold; none for 0. Compares in float16, as bitsandbytes does."""
    if threshold <= 0:
        return np.zeros(len(magnitudes), bool)
    with np.errstate(over="ignore"):  # values beyond float16's range become infinite there too
        return np.asarray(magnitudes.astype(np.float16) >= np.float16(threshold))
