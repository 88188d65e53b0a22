"""The bars of each precision's memory, in RAM and on GPUs, with a line that explains them."""

from PySide6.QtCore import QBuffer, QEvent, Qt
from PySide6.QtGui import QPainter, QPalette, QPixmap
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from qplayground.core.memory_segments import RAM, VRAM
from qplayground.core.results import Comparison
from qplayground.ui import theme
from qplayground.ui.plots.memory_bars import MemoryBars, part_brush, part_pen

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
_AFTER = "|: peak, the check of all weights and scoring left out"
_SWATCH_WIDTH = 20


class _Key(QLabel):
    """What the parts of the bars mean, with a swatch of each; the hue is a precision's in the bars."""

    def __init__(self, before: str) -> None:
        super().__init__(textFormat=Qt.TextFormat.RichText)
        self._before = before
        self.setFont(theme.small(self.font()))
        self.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.setWordWrap(True)
        self._paint()

    def _paint(self) -> None:
        parts = [f"{_swatch(role, self)}&#8288;&nbsp;{name.replace(' ', '&nbsp;')}" for role, name in _KEY]
        self.setText(" · ".join([f"{self._before}{_BEFORE}", *parts, _AFTER]))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint()


def _swatch(role: str, shown: QWidget) -> str:
    """As an image of the text itself, so that it wraps with its word."""
    pixmap = QPixmap(_SWATCH_WIDTH, theme.SWATCH)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setBrush(part_brush(role, shown.palette().color(QPalette.ColorRole.Accent), shown))
    painter.setPen(part_pen(role, shown))
    painter.drawRect(0, 0, _SWATCH_WIDTH - 1, theme.SWATCH - 1)
    painter.end()
    data = QBuffer()
    pixmap.save(data, "PNG")
    return f'<img src="data:image/png;base64,{data.data().toBase64().toStdString()}">'


class MemoryBarsView(QWidget):
    """Two bars a precision, of RAM and, where one was used, of the GPUs. `before_key`: what the key begins with."""

    def __init__(self, before_key: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bars = [MemoryBars(RAM), MemoryBars(VRAM)]
        self.key = _Key(before_key)
        line = QHBoxLayout()
        line.setContentsMargins(theme.GRID, 0, theme.GRID, theme.HALF_GRID)
        line.addWidget(self.key)
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
