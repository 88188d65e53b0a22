"""Divergence from the reference: its distribution, and its course along the text."""

import math

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import Signal

from qplayground.core.comparison.results import Comparison, Run
from qplayground.core.units import number_text
from qplayground.ui.charts import style
from qplayground.ui.charts.axes import CountAxis, DecadeAxis
from qplayground.ui.charts.chart import clicked_at
from qplayground.ui.charts.comparison.comparison_chart import ComparisonChart

Values = NDArray[np.float64]

_BINS_A_DECADE = 6
_LOWEST = 1e-8
"""In nats. Smaller divergences are raised to this, because the axis is logarithmic."""
_LOWEST_CHART = 100
_SMOOTHED = 24
"""The number of scored tokens in the moving average."""


def compared(comparison: Comparison | None) -> list[Run]:
    """The runs compared with a reference, token by token, on the current text."""
    if comparison is None or comparison.evaluation is None:
        return []
    text = comparison.evaluation.text_sha256
    scored = [run for run in comparison.runs if run.quality is not None and run.quality.text_sha256 == text]
    return [run for run in scored if run.scored is not None and len(run.scored.kld)]


class DivergenceHistogram(ComparisonChart):
    """The distribution of divergences of the scored tokens on a logarithmic axis, one curve per precision."""

    def __init__(self) -> None:
        super().__init__("How many tokens diverge how far")
        labels = {"bottom": "divergence of a token, nats", "left": "share of tokens, %"}
        self.plot = self.view.addPlot(axisItems={"bottom": DecadeAxis("bottom")}, labels=labels)
        self.plot.showGrid(x=True, y=True, alpha=0.15)
        self.plot.setLogMode(x=True, y=False)
        self.plot.setLimits(yMin=0)
        self.plot.addLegend(offset=(-8, 8))
        self._shares: dict[str, Values] = {}
        self._edges: Values = np.empty(0)
        self._follow_mouse(self.plot, self.reading)
        self._paint()

    def _draw(self) -> None:
        self._clear(self.plot)
        self._shares.clear()
        values = {run.id: np.maximum(_klds(run), _LOWEST) for run in compared(self._comparison)}
        if not values:
            return
        lowest = math.floor(math.log10(min(found.min() for found in values.values())))
        highest = math.ceil(math.log10(max(found.max() for found in values.values())))
        edges = np.logspace(lowest, max(highest, lowest + 1), (max(highest, lowest + 1) - lowest) * _BINS_A_DECADE + 1)
        for name, found in values.items():
            counts, _ = np.histogram(found, edges)
            self._shares[name] = 100 * counts / len(found)
            pen = style.curve_pen(name, self)
            self.plot.plot(edges, self._shares[name], stepMode="center", pen=pen, name=name)
        self._edges = edges

    def reading(self, x: float, _y: float) -> str:
        """The text for the bin at x, the base-10 logarithm of a divergence; empty if there is none."""
        place = int(np.searchsorted(np.log10(self._edges), x)) - 1 if len(self._edges) else -1
        if not 0 <= place < len(self._edges) - 1:
            return ""
        low, high = number_text(self._edges[place]), number_text(self._edges[place + 1])
        shares = ", ".join(f"{name} {number_text(share[place])} %" for name, share in self._shares.items())
        return f"{low} to {high} nats: {shares}"


class DivergenceAlongText(ComparisonChart):
    """Each precision's divergence over the scored tokens in text order, as a moving average.

    Signal: `picked(int)`, the index of the clicked scored token.
    """

    picked = Signal(int)

    def __init__(self) -> None:
        super().__init__("Divergence along the text")
        self.view.setMinimumHeight(_LOWEST_CHART)
        labels = {"bottom": f"scored token · mean of {_SMOOTHED} neighbours", "left": "nats"}
        self.plot = self.view.addPlot(axisItems={"bottom": CountAxis("bottom")}, labels=labels)
        self.plot.showGrid(x=False, y=True, alpha=0.15)
        self.plot.setMouseEnabled(x=True, y=False)
        self.plot.setLimits(xMin=0, yMin=0)
        self._mark = pg.InfiniteLine(angle=90, movable=False)
        self._curves: dict[str, Values] = {}
        self._follow_mouse(self.plot, self.reading)
        self.plot.scene().sigMouseClicked.connect(self._on_clicked)
        self._paint()

    def show_comparison(self, comparison: Comparison | None) -> None:
        """Draw every run that was compared with a reference."""
        super().show_comparison(comparison)
        self.plot.autoRange()

    def mark(self, token: int) -> None:
        """Mark the position of a scored token."""
        self._mark.setPos(token + 0.5)
        if self._mark.scene() is None:
            self.plot.addItem(self._mark, ignoreBounds=True)

    def _draw(self) -> None:
        self._clear(self.plot)
        self._curves.clear()
        for run in compared(self._comparison):
            values = self._curves[run.id] = smoothed(_klds(run), _SMOOTHED)
            places = np.arange(len(values)) + 0.5
            self.plot.plot(places, values, pen=style.curve_pen(run.id, self, 1.5), name=run.id)

    def reading(self, x: float, _y: float) -> str:
        """The curves' values at x, the index of a scored token; empty if there is none."""
        place = int(x)
        there = {name: values[place] for name, values in self._curves.items() if 0 <= place < len(values)}
        if x < 0 or not there:
            return ""
        return f"token {place:,}: {', '.join(f'{name} {number_text(value)}' for name, value in there.items())} nats"

    def _on_clicked(self, event: object) -> None:
        place, runs = clicked_at(self.plot, event), compared(self._comparison)
        token = -1 if place is None else int(place.x())
        if runs and 0 <= token < len(_klds(runs[0])):
            self.mark(token)
            self.picked.emit(token)

    def _paint(self) -> None:
        self._mark.setPen(pg.mkPen(style.secondary(self)))
        super()._paint()


def smoothed(values: Values, width: int) -> Values:
    """The mean of up to `width` neighbours around each value; fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=np.float64))])
    places = np.arange(len(values))
    first = np.maximum(0, places - width // 2)
    last = np.minimum(len(values), places + (width + 1) // 2)
    return np.asarray((sums[last] - sums[first]) / np.maximum(1, last - first))


def _klds(run: Run) -> Values:
    assert run.scored is not None
    return np.frombuffer(run.scored.kld.data, dtype=np.float32).astype(np.float64)
