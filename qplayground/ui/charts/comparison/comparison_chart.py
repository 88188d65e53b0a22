"""The base class of charts of a comparison's runs."""

from collections.abc import Collection

import pyqtgraph as pg
from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QColor

from qplayground.core.comparison.caveats import spoilt
from qplayground.core.comparison.results import Comparison, Run
from qplayground.ui.charts.chart import Chart


class ComparisonChart(Chart):
    """A chart with an item for each run."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._comparison: Comparison | None = None

    @Slot(object)
    def show_comparison(self, comparison: Comparison | None) -> None:
        """Draw every run that has the charted figures."""
        self._comparison = comparison
        self._draw()

    @property
    def _runs(self) -> list[Run]:
        return [] if self._comparison is None else self._comparison.runs

    def _spoilt(self, run: Run) -> Collection[str]:
        """Keys of the run's metrics that were disturbed."""
        return () if self._comparison is None else spoilt(self._comparison, run)

    def _fit_rows(self, plot: pg.PlotItem, highest: float, right: float) -> None:
        """Set the ranges of a horizontal bar chart: one row per run, the first on top, from 0 to `right`."""
        names = [run.id for run in self._runs]
        plot.getAxis("left").setTicks([list(enumerate(reversed(names)))])
        plot.getAxis("bottom").setStyle(showValues=highest > 0)  # without data the values would be meaningless
        plot.setXRange(0, right, padding=0)
        plot.setYRange(-0.6, max(len(names), 1) - 0.4, padding=0)

    def _hide_left_axis(self, plot: pg.PlotItem) -> None:
        """Hide the axis but keep the row names."""
        plot.getAxis("left").setStyle(tickLength=0)
        plot.getAxis("left").setPen(pg.mkPen(QColor(Qt.GlobalColor.transparent)))
