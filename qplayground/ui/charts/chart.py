"""What every chart is: a picture that takes the palette's colours and the text's size again when they change."""

from collections.abc import Callable

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QVBoxLayout, QWidget

from qplayground.ui.charts import style
from qplayground.ui.charts.crosshair import Crosshair


class Chart(QWidget):
    """A subclass adds plots to `view`, draws in `_draw` what it has been given, and calls `_paint` once it is built."""

    _is_painted = False

    def __init__(self, name: str) -> None:
        """`name` is what a screen reader says of the picture."""
        super().__init__()
        self._crosshair: Crosshair | None = None
        self.view = pg.GraphicsLayoutWidget()
        self.view.setAccessibleName(name)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)
        self._column.addWidget(self.view, 1)

    def _follow_mouse(self, plot: pg.PlotItem, reading: Callable[[float, float], str]) -> None:
        """Say above that plot what `reading` says of the place under the mouse."""
        self._crosshair = Crosshair(plot, self, reading)

    def _clear(self, plot: pg.PlotItem) -> None:
        """Take out of that plot all that was drawn and read there."""
        plot.clear()
        plot.setTitle(None)
        if self._crosshair is not None:
            self._crosshair.restore()

    def _draw(self) -> None:
        """Draw what there is, in the palette's colours."""

    def _paint(self) -> None:
        """Take the palette's colours, and draw. A subclass gives them to what it does not draw anew."""
        self._is_painted = True
        self.view.setBackground(self.palette().color(QPalette.ColorRole.Base))
        for item in self.view.ci.items:
            if isinstance(item, pg.PlotItem) and not isinstance(item, pg.ColorBarItem):
                style.paint(item, self)
        if self._crosshair is not None:
            self._crosshair.paint()
        self._draw()

    def changeEvent(self, event: QEvent) -> None:
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and self._is_painted:
            self._paint()
        super().changeEvent(event)


def clicked_at(plot: pg.PlotItem, event: object) -> QPointF | None:
    """Where the left button was clicked, in the plot's coordinates; None beside it, and for another button."""
    position = event.scenePos()  # type: ignore[attr-defined]
    is_left = event.button() == Qt.MouseButton.LeftButton  # type: ignore[attr-defined]
    if not is_left or not plot.vb.sceneBoundingRect().contains(position):
        return None
    place: QPointF = plot.vb.mapSceneToView(position)
    return place
