"""A strip above the timeline that shows each engine's phases."""

import itertools
from dataclasses import dataclass

import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QStyleOptionGraphicsItem, QWidget

from qplayground.core.messages.events import Phase
from qplayground.ui.charts import style
from qplayground.ui.widgets import theme

_ALPHA = {
    Phase.START: 30,
    Phase.LOAD: 90,
    Phase.QUANTIZE: 90,
    Phase.COPY: 60,
    Phase.WARM_UP: 60,
    Phase.CHECK: 40,
    Phase.PREFILL: 150,
    Phase.DECODE: 200,
    Phase.SCORE: 110,
    Phase.UNLOAD: 20,
}
_PADDING = 3


@dataclass
class PhaseSpan:
    """One phase of one precision, in seconds since the comparison began. `end_s` grows while it lasts.

    `row` is above 0 only for concurrent phases, as in a race.
    """

    name: str
    phase: Phase
    start_s: float
    end_s: float
    row: int = 0


class PhaseLane(pg.GraphicsObject):  # type: ignore[misc]
    """Draws spans as bands in the precision's hue, with the phase's name if it fits."""

    def __init__(self, shown: QWidget) -> None:
        super().__init__()
        self._shown = shown
        self.spans: list[PhaseSpan] = []
        self._open: dict[str, int] = {}  # rows of the running phases
        self._drawn = QRectF(0, 0, 0, 1)

    def begin(self, name: str, phase: Phase, now_s: float) -> None:
        """Start a phase. The precision's previous phase ends, unless it is closed."""
        self.end(name, now_s)
        taken = {row for other, row in self._open.items() if other != name}
        self._open[name] = row = next(row for row in itertools.count() if row not in taken)
        self.spans.append(PhaseSpan(name, phase, now_s, now_s, row))

    def end(self, name: str, now_s: float) -> None:
        """Extend the precision's last phase to now. Call `refresh` to draw it."""
        for span in reversed(self.spans):
            if span.name == name and name in self._open:
                span.end_s = max(span.end_s, now_s)
                break

    def close(self, name: str) -> None:
        """The precision is idle: later calls of `end` do not extend its last phase."""
        self._open.pop(name, None)

    def forget(self, name: str) -> None:
        """Remove a precision's phases."""
        self.close(name)
        self.spans = [span for span in self.spans if span.name != name]

    @property
    def rows(self) -> int:
        """The maximum number of concurrent phases; at least 1."""
        return 1 + max((span.row for span in self.spans), default=0)

    def refresh(self) -> None:
        """Draw the current spans."""
        self.prepareGeometryChange()
        start = min((span.start_s for span in self.spans), default=0.0)
        self._drawn = QRectF(start, 0, max((span.end_s for span in self.spans), default=0.0) - start, 1)
        self.update()

    def clear(self) -> None:
        """Remove all phases."""
        self.spans.clear()
        self._open.clear()
        self.refresh()

    def spans_at(self, time_s: float) -> list[PhaseSpan]:
        """The phases at this time; several in a race."""
        return [span for span in self.spans if span.start_s <= time_s < span.end_s]

    def boundingRect(self) -> QRectF:
        return self._drawn

    def paint(self, painter: QPainter, _option: QStyleOptionGraphicsItem, _widget: QWidget | None = None) -> None:
        transform = painter.worldTransform()
        painter.resetTransform()  # draw text in pixels, else the axes would stretch it
        painter.setFont(style.tick_font(self._shown))
        dark = theme.is_dark(self._shown)
        rows = self.rows
        for span in self.spans:
            band = transform.mapRect(
                QRectF(span.start_s, 1 - (span.row + 1) / rows, span.end_s - span.start_s, 1 / rows)
            )
            painter.fillRect(band, style.faded(theme.color(span.name, dark), _ALPHA[span.phase]))
            text = f"{span.phase}"
            if painter.fontMetrics().horizontalAdvance(text) + 2 * _PADDING <= band.width():
                strong = _ALPHA[span.phase] >= 200
                role = self._shown.palette().highlightedText() if strong and not dark else self._shown.palette().text()
                painter.setPen(Qt.GlobalColor.black if strong and dark else role.color())
                painter.drawText(band, Qt.AlignmentFlag.AlignCenter, text)
