"""The tabs below the columns: charts and the table of a comparison."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QTabWidget, QToolButton, QWidget

from qplayground.core.comparison.results import ComparedModel, Comparison
from qplayground.ui.comparison.figures_table import FiguresTable
from qplayground.ui.dialogs.exporting import may_replace, say_not_written
from qplayground.ui.widgets.placeholder import Placeholder

if TYPE_CHECKING:
    from qplayground.ui.charts.comparison.speed import SpeedCharts
    from qplayground.ui.charts.comparison.trade_off import TradeOffChart
    from qplayground.ui.comparison.quality_view import QualityView

CHART_MODULES = (
    "qplayground.ui.charts.comparison.speed",
    "qplayground.ui.charts.comparison.trade_off",
    "qplayground.ui.comparison.quality_view",
    "qplayground.ui.charts.save",
)
_SOON_MS = 100
_CHART_FILES = "PNG picture (*.png);;SVG drawing (*.svg)"


class ComparisonTabs(QTabWidget):
    """Speed, Quality, Trade-off and Table. A tab is drawn when it becomes visible.

    Signals: `chart_saved(Path)`; `inside_requested(ComparedModel, str)` with a layer.
    """

    chart_saved = Signal(object)
    inside_requested = Signal(object, str)

    def __init__(self) -> None:
        super().__init__(documentMode=True)
        self._comparisons: tuple[Comparison, ...] = ()
        self._stale: set[QWidget] = set()
        # Returns why the Inside window cannot open, for example because a saved comparison's model was deleted.
        self.inside_obstacle: Callable[[ComparedModel], str] = lambda _model: ""
        self._soon = QTimer(self, singleShot=True, interval=_SOON_MS)
        self._soon.timeout.connect(self.refresh)
        self.speed: SpeedCharts | None = None
        self.quality: QualityView | None = None
        self.trade_off: TradeOffChart | None = None
        self.table = FiguresTable()
        self._speed_tab = Placeholder("How fast each precision reads and writes is drawn here once one has run.")
        self._quality_tab = Placeholder(
            "What each precision costs in accuracy is shown here once a text was scored. How much: Quality, below Run."
        )
        self._trade_off_tab = Placeholder("Any two figures are drawn against each other here once a precision has run.")
        self.addTab(self._speed_tab, "&Speed")
        self.addTab(self._quality_tab, "&Quality")
        self.addTab(self._trade_off_tab, "Tr&ade-off")
        self.addTab(self.table, "Ta&ble")
        self.save = QToolButton(autoRaise=True)
        self.save.setText("Save chart…")
        self.save.setToolTip("Save the chart that is shown as PNG or SVG")
        self.save.clicked.connect(self._on_save)
        self.setCornerWidget(self.save)
        self.currentChanged.connect(self._draw_current)

    def load_charts(self) -> None:
        """Create the charts. Takes 0.5 s unless CHART_MODULES are imported already."""
        for module in CHART_MODULES:
            importlib.import_module(module)
        from qplayground.ui.charts.comparison.speed import SpeedCharts
        from qplayground.ui.charts.comparison.trade_off import TradeOffChart

        self.speed, self.trade_off = SpeedCharts(), TradeOffChart()
        self._speed_tab.put(self.speed)
        self._trade_off_tab.put(self.trade_off)
        self.refresh()

    @Slot(object)
    def show_comparison(self, comparison: Comparison) -> None:
        """Show the comparison's current figures."""
        self._comparisons = (comparison,)
        self.refresh()

    def show_both(self, comparisons: Sequence[Comparison]) -> None:
        """Show the table alone, with the figures of several comparisons."""
        self._comparisons = tuple(comparisons)
        for tab in (self._speed_tab, self._quality_tab, self._trade_off_tab):
            self.removeTab(self.indexOf(tab))
        self.refresh()

    def refresh_soon(self) -> None:
        """Redraw the current tab shortly. Calls in quick succession redraw it once."""
        self._soon.start()

    @Slot()
    def refresh(self) -> None:
        """Redraw the current tab."""
        self._stale = {self._speed_tab, self._quality_tab, self._trade_off_tab, self.table}
        self._draw_current()

    def chart(self) -> QWidget | None:
        """The current tab's chart, if it can be saved."""
        chart = getattr(self.currentWidget(), "chart", None)  # the owner may have added a tab of its own
        return chart if isinstance(chart, QWidget) else None

    @Slot()
    def _draw_current(self) -> None:
        current = self.currentWidget()
        self._show_whether_savable()
        if current not in self._stale or not self._comparisons:
            return
        self._stale.discard(current)
        if current is self.table:
            self.table.show_comparisons(self._comparisons)
            return
        comparison = self._comparisons[0]
        ran = any(run.speed.ttft_s is not None for run in comparison.runs)
        if self.speed is None or self.trade_off is None:
            return  # the charts are not loaded yet
        if current is self._speed_tab:
            self.speed.show_comparison(comparison)
            self._speed_tab.reveal(ran)
        elif current is self._quality_tab:
            self._show_quality(comparison)
        else:
            self.trade_off.show_comparison(comparison)
            self._trade_off_tab.reveal(ran)

    def _show_quality(self, comparison: Comparison) -> None:
        """The charts are created when first shown: creating all four at start-up would block the window."""
        if self.quality is None:
            from qplayground.ui.comparison.quality_view import QualityView

            self.quality = QualityView()
            self.quality.layers.inside_obstacle = self.inside_obstacle
            self.quality.layers.inside_requested.connect(self.inside_requested)
            self.quality.pages.currentChanged.connect(self._show_whether_savable)
            self._quality_tab.put(self.quality)
        self.quality.show_comparison(comparison)
        self._quality_tab.reveal(any(run.quality is not None for run in comparison.runs))

    @Slot()
    def _show_whether_savable(self) -> None:
        self.save.setEnabled(self.chart() is not None and bool(self._comparisons))

    @Slot()
    def _on_save(self) -> None:
        name, chosen = QFileDialog.getSaveFileName(self, "Save the chart", "chart.png", _CHART_FILES)
        if name:
            path = Path(name)
            if not path.suffix:
                path = path.with_suffix(".svg" if "svg" in chosen else ".png")
                if path.exists() and not may_replace(self, path):
                    return
            self.save_chart(path)

    def save_chart(self, path: Path) -> None:
        """Write the current chart to a file. Shows a message if it cannot be written."""
        chart = self.chart()
        if chart is None:
            return
        from qplayground.ui.charts.save import save_chart

        try:
            save_chart(chart, path)
        except OSError as error:
            say_not_written(self, "Save the chart", path, error)
            return
        self.chart_saved.emit(path)
