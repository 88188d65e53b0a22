"""A vertical line at the mouse, and the values there."""

from collections.abc import Callable
from html import escape

import pyqtgraph as pg
from PySide6.QtCore import QPointF
from PySide6.QtWidgets import QWidget

from qplayground.ui.charts import style


class Crosshair:
    """Follows the mouse over a plot. `reading(x, y)`, in plot coordinates, returns the text shown above the plot."""

    def __init__(self, plot: pg.PlotItem, shown: QWidget, reading: Callable[[float, float], str]) -> None:
        self._plot = plot
        self._shown = shown
        self._reading = reading
        self._lines = [pg.InfiniteLine(angle=angle, movable=False) for angle in (90, 0)]
        for line in self._lines:
            plot.addItem(line, ignoreBounds=True)
            line.hide()
        plot.scene().sigMouseMoved.connect(self._on_mouse_moved)

    def paint(self) -> None:
        """Apply the palette's colours."""
        for line in self._lines:
            line.setPen(pg.mkPen(style.secondary(self._shown)))

    def restore(self) -> None:
        """Add the lines again after the plot was cleared."""
        for line in self._lines:
            if line.scene() is None:
                self._plot.addItem(line, ignoreBounds=True)
            line.hide()

    def _on_mouse_moved(self, position: QPointF) -> None:
        inside = self._plot.vb.sceneBoundingRect().contains(position)
        for line in self._lines:
            line.setVisible(inside)
        text = ""
        if inside:
            at = self._plot.vb.mapSceneToView(position)
            self._lines[0].setPos(at.x())
            self._lines[1].setPos(at.y())
            text = self._reading(at.x(), at.y())
        self._plot.setTitle(escape(text) or None, size="9pt", color=style.secondary(self._shown))
