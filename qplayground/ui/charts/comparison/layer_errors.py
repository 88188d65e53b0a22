"""The error of each quantized layer: bars in the model's order, with the worst ones named."""

from collections.abc import Callable

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QMenu

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.results import ComparedModel, Comparison, Run
from qplayground.core.measures.quality import LayerError
from qplayground.core.units import share_text
from qplayground.ui.charts import style
from qplayground.ui.charts.chart import clicked_at
from qplayground.ui.charts.comparison.comparison_chart import ComparisonChart
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.name_box import NameBox

_NAMED = 3
_PARTS = 3
"""The last parts of a layer's name, which fit beside the boxes: its number and role."""
_WHAT = (("outputs on the text", "outputs"), ("weights", "weights"))


class LayerErrors(ComparisonChart):
    """One precision's relative error by layer. Skipping the worst layers helps the most.

    Signal: `inside_requested(ComparedModel, str)`, the layer to look into. A click on its bar offers this, or shows the
    sentence from `inside_obstacle` instead.
    """

    inside_requested = Signal(object, str)

    def __init__(self) -> None:
        super().__init__("Error of each quantized layer")
        self.inside_obstacle: Callable[[ComparedModel], str] = lambda _model: ""
        self.candidate = NameBox()
        self.candidate.setAccessibleName("Precision")
        self.candidate.currentIndexChanged.connect(self._draw)
        self.what = QComboBox()
        self.what.setAccessibleName("Error of what")
        for title, key in _WHAT:
            self.what.addItem(title, key)
        self.what.currentIndexChanged.connect(self._draw)
        self.worst = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.worst.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.worst.setMinimumWidth(1)  # long names must not widen the window
        labels = {"left": "relative error, %", "bottom": "quantized layer, in the order in which they compute"}
        self.plot = self.view.addPlot(labels=labels)
        self.plot.showGrid(x=False, y=True, alpha=0.15)
        self.plot.setMouseEnabled(x=True, y=False)
        self.plot.setLimits(xMin=-1, yMin=0)
        self._follow_mouse(self.plot, self.reading)
        self._offer = QMenu(self)
        self.plot.scene().sigMouseClicked.connect(self._on_clicked)
        row = QHBoxLayout()
        row.setContentsMargins(theme.GRID, theme.HALF_GRID, theme.GRID, 0)
        row.setSpacing(theme.GRID)
        for widget in (QLabel("Error of"), self.candidate, self.what):
            row.addWidget(widget)
        row.addWidget(self.worst, 1)
        self._column.insertLayout(0, row)
        self._paint()

    def show_comparison(self, comparison: Comparison | None) -> None:
        """Offer every run whose layers were measured."""
        self._comparison = comparison
        self.candidate.offer([run.id for run in self._measured()])
        self._draw()

    def _measured(self) -> list[Run]:
        return [run for run in self._runs if run.layer_errors]

    def _run(self) -> Run | None:
        name = self.candidate.currentText()
        return next((run for run in self._measured() if run.id == name), None)

    def _layers(self) -> list[LayerError]:
        run = self._run()
        return [] if run is None else run.layer_errors

    def _error(self, layer: LayerError) -> float:
        return float(getattr(layer, self.what.currentData()))

    @Slot()
    def _draw(self) -> None:
        self._clear(self.plot)
        layers = self._layers()
        worst = sorted(layers, key=self._error, reverse=True)[:_NAMED]
        named = ", ".join(
            f"{'.'.join(layer.name.split('.')[-_PARTS:])} {share_text(self._error(layer))}" for layer in worst
        )
        self.worst.setText(f"worst: {named}" if named else "")
        self.worst.setToolTip(theme.literal(", ".join(layer.name for layer in worst)))
        if not layers:
            return
        hue = theme.color(self.candidate.currentText(), theme.is_dark(self))
        heights = 100 * np.array([self._error(layer) for layer in layers])
        brushes = [hue if layer in worst else style.faded(hue, 150) for layer in layers]
        self.plot.addItem(
            pg.BarGraphItem(x=np.arange(len(layers)), height=heights, width=0.8, brushes=brushes, pen=None)
        )
        self.plot.setXRange(-1, len(layers), padding=0)
        self.plot.setYRange(0, 1.1 * float(heights.max()) or 1, padding=0)

    def reading(self, x: float, _y: float) -> str:
        """The text for the mouse position, in plot coordinates; empty if there is nothing."""
        layers, place = self._layers(), round(x)
        if not 0 <= place < len(layers):
            return ""
        layer = layers[place]
        return f"{layer.name}: weights {share_text(layer.weights)}, outputs {share_text(layer.outputs)}"

    def _on_clicked(self, event: object) -> None:
        """Offer to look inside the layer whose bar was clicked."""
        run, at = self._run(), clicked_at(self.plot, event)
        if run is None or at is None:
            return
        if 0 <= round(at.x()) < len(run.layer_errors):
            model, name = run.model, run.layer_errors[round(at.x())].name
            self._offer.clear()
            obstacle = run.lacks.get(Capability.INSIDE) or self.inside_obstacle(model)
            if obstacle:
                self._offer.addAction(obstacle).setEnabled(False)
            else:
                self._offer.addAction(f"Look inside {name}", lambda: self.inside_requested.emit(model, name))
            self._offer.popup(event.screenPos().toPoint())  # type: ignore[attr-defined]
