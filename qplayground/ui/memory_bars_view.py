"""The bars of each precision's memory, in RAM and on GPUs, with a line that explains them."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from qplayground.core.memory_segments import RAM, VRAM
from qplayground.core.results import Comparison
from qplayground.ui import theme
from qplayground.ui.plots.memory_bars import MemoryBars

_LEAST_HEIGHT = 140
_KEY = (
    "bars: predicted above measured · grey: libraries, without a model · full to light: quantized weights, scales, "
    "weights left alone, KV cache and working memory · hatched: unexplained · |: peak, the check of all weights and "
    "scoring left out"
)


class MemoryBarsView(QWidget):
    """Two bars a precision, of RAM and, where one was used, of the GPUs. `before_key`: what the key begins with."""

    def __init__(self, before_key: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bars = [MemoryBars(RAM), MemoryBars(VRAM)]
        key = QLabel(before_key + _KEY)
        key.setFont(theme.small(key.font()))
        key.setForegroundRole(key.palette().ColorRole.PlaceholderText)
        key.setWordWrap(True)
        line = QHBoxLayout()
        line.setContentsMargins(theme.GRID, 0, theme.GRID, theme.HALF_GRID)
        line.addWidget(key)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        stacked = QWidget()
        column = QVBoxLayout(stacked)
        column.setContentsMargins(0, 0, 0, 0)
        for bars in self.bars:
            column.addWidget(bars, 1)
        layout.addWidget(scrolled(stacked), 1)
        layout.addLayout(line)

    @property
    def chart(self) -> QWidget:
        """What can be saved as a picture: the bars of RAM."""
        view: QWidget = self.bars[0].view
        return view

    def show_comparison(self, comparison: Comparison | None) -> None:
        """Draw the memory of every run that has some."""
        on_gpu = comparison is not None and any(run.memory.vram for run in comparison.runs)
        for bars, shown in zip(self.bars, (True, on_gpu), strict=True):
            bars.setVisible(shown)
            bars.setMinimumHeight(_LEAST_HEIGHT if on_gpu else 0)  # the tab scrolls then
            bars.show_comparison(comparison)


def scrolled(widget: QWidget) -> QScrollArea:
    """What holds a chart in a tab that may be lower than it."""
    area = QScrollArea()
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(widget)
    return area
