"""What a plot shows of each run, drawn again only where that has changed."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import pyqtgraph as pg

_Figures = TypeVar("_Figures")


class RunItems(Generic[_Figures]):
    """To make a run's items, put them in and take them out costs milliseconds, while an engine wants the processor.

    `figures` must be all that is drawn of a run, places and marks too; they are compared by value.
    """

    def __init__(self, plot: pg.PlotItem, draw: Callable[[str, _Figures], list[pg.GraphicsObject]]) -> None:
        self._plot = plot
        self._draw = draw
        self._drawn: dict[str, _Figures] = {}
        self.shown: dict[str, list[pg.GraphicsObject]] = {}

    def show(self, figures: Mapping[str, _Figures]) -> None:
        """Show these, by the precisions' names, and no others."""
        for name in [name for name in self._drawn if name not in figures or self._drawn[name] != figures[name]]:
            self._take_out(name)
        for name, wanted in figures.items():
            if name not in self._drawn:
                self._drawn[name], self.shown[name] = wanted, self._draw(name, wanted)
                for item in self.shown[name]:
                    self._plot.addItem(item)

    def clear(self) -> None:
        """Take everything out, as before all is drawn in other colours."""
        for name in list(self._drawn):
            self._take_out(name)

    def _take_out(self, name: str) -> None:
        del self._drawn[name]
        for item in self.shown.pop(name):
            self._plot.removeItem(item)
