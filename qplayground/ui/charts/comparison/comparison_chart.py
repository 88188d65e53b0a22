"""What the charts of a comparison's runs have in common."""

from collections.abc import Collection

import pyqtgraph as pg
from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QColor

from qplayground.core.comparison.caveats import spoilt
from qplayground.core.comparison.results import Comparison, Run
from qplayground.ui.charts.chart import Chart


class ComparisonChart(Chart):
    """Draws what there is of each run."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._comparison: Comparison | None = None

    @Slot(object)
    def show_comparison(self, comparison: Comparison | None) -> None:
        """Draw every run that has what is drawn here."""
        self._comparison = comparison
        self._draw()

    @property
    def _runs(self) -> list[Run]:
        return [] if self._comparison is None else self._comparison.runs

    def _spoilt(self, run: Run) -> Collection[str]:
        """Keys of the metrics of that run that something spoilt."""
        return () if self._comparison is None else spoilt(self._comparison, run)

    def _fit_rows(self, plot: pg.PlotItem, highest: float, right: float) -> None:
        """Let a plot of bars from the left, a row a run and the first on top, reach from zero to `right`."""
        names = [run.id for run in self._runs]
        plot.getAxis("left").setTicks([list(enumerate(reversed(names)))])
        plot.getAxis("bottom").setStyle(showValues=highest > 0)  # a scale without data would be made up
        plot.setXRange(0, right, padding=0)
        plot.setYRange(-0.6, max(len(names), 1) - 0.4, padding=0)

    def _hide_left_axis(self, plot: pg.PlotItem) -> None:
        """Leave the names of its rows."""
        plot.getAxis("left").setStyle(tickLength=0)
        plot.getAxis("left").setPen(pg.mkPen(QColor(Qt.GlobalColor.transparent)))
