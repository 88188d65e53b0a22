"""The base class of all charts. It redraws when the palette or the text size changes."""

from collections.abc import Callable

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QVBoxLayout, QWidget

from qplayground.ui.charts import style
from qplayground.ui.charts.crosshair import Crosshair


class Chart(QWidget):
    """Subclasses add plots to `view`, draw their data in `_draw`, and call `_paint` at the end of `__init__`."""

    _is_painted = False

    def __init__(self, name: str) -> None:
        """`name` is for screen readers."""
        super().__init__()
        self._crosshair: Crosshair | None = None
        self.view = pg.GraphicsLayoutWidget()
        self.view.setAccessibleName(name)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)
        self._column.addWidget(self.view, 1)

    def _follow_mouse(self, plot: pg.PlotItem, reading: Callable[[float, float], str]) -> None:
        """Show `reading` of the mouse position above the plot."""
        self._crosshair = Crosshair(plot, self, reading)

    def _clear(self, plot: pg.PlotItem) -> None:
        """Remove all items and the reading from the plot."""
        plot.clear()
        plot.setTitle(None)
        if self._crosshair is not None:
            self._crosshair.restore()

    def _draw(self) -> None:
        """Draw the data in the palette's colours."""

    def _paint(self) -> None:
        """Apply the palette's colours and draw. Subclasses extend this for items that `_draw` does not recreate."""
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
    """The plot coordinates of a left click. None outside the plot, or for another button."""
    position = event.scenePos()  # type: ignore[attr-defined]
    is_left = event.button() == Qt.MouseButton.LeftButton  # type: ignore[attr-defined]
    if not is_left or not plot.vb.sceneBoundingRect().contains(position):
        return None
    place: QPointF = plot.vb.mapSceneToView(position)
    return place
