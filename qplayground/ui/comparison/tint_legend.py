"""The legend of tinted tokens."""

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QLinearGradient, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QLabel, QWidget

from qplayground.ui.comparison.token_text import doubt_color
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import in_row

_WIDTH, _HEIGHT = 72, 12


class TintLegend(QWidget):
    """The scale of background colours, with the probabilities at its ends."""

    def __init__(self) -> None:
        super().__init__()
        ends = [QLabel("likely (100 %)"), QLabel("unlikely (0 %)")]
        for label in ends:
            label.setFont(theme.small(label.font()))
            label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        in_row(ends[0], _Scale(), ends[1], within=self, spacing=theme.HALF_GRID)
        self.setToolTip("How likely the model found each token as it wrote it. Hover a token for its own probability.")
        self.setAccessibleName("Plain ground: a likely token; strong ground: an unlikely one")


class _Scale(QWidget):
    def sizeHint(self) -> QSize:
        return QSize(_WIDTH, _HEIGHT)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        area = QRectF(0, (self.height() - _HEIGHT) / 2, self.width() - 1, _HEIGHT)
        scale = QLinearGradient(area.topLeft(), area.topRight())
        for probability in (1.0, 0.0):
            scale.setColorAt(1 - probability, doubt_color(self.palette(), probability))
        painter.fillRect(area, self.palette().color(QPalette.ColorRole.Base))
        painter.fillRect(area, scale)
        painter.setPen(self.palette().color(QPalette.ColorRole.Mid))
        painter.drawRect(area)
