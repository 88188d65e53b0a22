"""The plot items of each run. They are recreated only when their data changes."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import pyqtgraph as pg

_Figures = TypeVar("_Figures")


class RunItems(Generic[_Figures]):
    """Avoids recreating items, which takes milliseconds of CPU time while an engine is being timed.

    `figures` must contain everything that is drawn, positions and marks too. They are compared by value.
    """

    def __init__(self, plot: pg.PlotItem, draw: Callable[[str, _Figures], list[pg.GraphicsObject]]) -> None:
        self._plot = plot
        self._draw = draw
        self._drawn: dict[str, _Figures] = {}
        self.shown: dict[str, list[pg.GraphicsObject]] = {}

    def show(self, figures: Mapping[str, _Figures]) -> None:
        """Show exactly these figures, by precision name."""
        for name in [name for name in self._drawn if name not in figures or self._drawn[name] != figures[name]]:
            self._take_out(name)
        for name, wanted in figures.items():
            if name not in self._drawn:
                self._drawn[name], self.shown[name] = wanted, self._draw(name, wanted)
                for item in self.shown[name]:
                    self._plot.addItem(item)

    def clear(self) -> None:
        """Remove all items, for example before drawing in other colours."""
        for name in list(self._drawn):
            self._take_out(name)

    def _take_out(self, name: str) -> None:
        del self._drawn[name]
        for item in self.shown.pop(name):
            self._plot.removeItem(item)
