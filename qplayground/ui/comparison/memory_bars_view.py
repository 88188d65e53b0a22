"""Bars of each precision's memory, in RAM and on GPUs, with a legend."""

from functools import partial

from PySide6.QtCore import QRect
from PySide6.QtGui import QPainter, QPalette
from PySide6.QtWidgets import QVBoxLayout, QWidget

from qplayground.core.comparison.memory_segments import RAM, VRAM
from qplayground.core.comparison.results import Comparison
from qplayground.ui.charts.comparison.memory_bars import MemoryBars, part_brush, part_pen
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.flowing_key import FlowingKey, Phrase
from qplayground.ui.widgets.page import scroll_area
from qplayground.ui.widgets.parts import in_column, in_row

_LEAST_HEIGHT = 140
_KEY = (
    ("runtime", "libraries, without a model"),
    ("quantized", "quantized weights"),
    ("scales", "scales"),
    ("plain", "weights left alone"),
    ("beside", "KV cache and working memory"),
    ("unexplained", "unexplained"),
)
_BEFORE = "bars: predicted above measured"
_AFTER = "|:\N{NO-BREAK SPACE}peak, the check of all weights and scoring left out"


def _paint(role: str, painter: QPainter, area: QRect, shown: QWidget) -> None:
    """Paint a legend swatch as in the bars, in a neutral colour instead of a precision's hue."""
    painter.setBrush(part_brush(role, shown.palette().color(QPalette.ColorRole.Accent), shown))
    painter.setPen(part_pen(role, shown))
    painter.drawRect(area)


class MemoryBarsView(QWidget):
    """Bars of RAM and, if a GPU was used, of VRAM. `marks`: further legend entries."""

    def __init__(self, *marks: str) -> None:
        super().__init__()
        self.bars = [MemoryBars(RAM), MemoryBars(VRAM)]
        parts = [Phrase(name, partial(_paint, role)) for role, name in _KEY]
        self.key = FlowingKey([*map(Phrase, marks), Phrase(_BEFORE), *parts, Phrase(_AFTER)])
        stacked = QWidget()
        above = QVBoxLayout(stacked)
        above.setContentsMargins(0, 0, 0, 0)
        for bars in self.bars:
            above.addWidget(bars, 1)
        area = scroll_area(stacked, only_down=True)
        key = in_row(self.key, margins=(theme.GRID, 0, theme.GRID, theme.HALF_GRID))
        in_column(area, key, within=self, grows=area)

    @property
    def chart(self) -> QWidget:
        """The chart that can be saved: the RAM bars."""
        view: QWidget = self.bars[0].view
        return view

    def show_comparison(self, comparison: Comparison | None) -> None:
        """Draw the memory of every run that has memory figures."""
        on_gpu = comparison is not None and any(run.memory.vram for run in comparison.runs)
        for bars, shown in zip(self.bars, (True, on_gpu), strict=True):
            bars.setVisible(shown)
            bars.setMinimumHeight(_LEAST_HEIGHT if on_gpu else 0)  # the tab scrolls in that case
            bars.show_comparison(comparison)
