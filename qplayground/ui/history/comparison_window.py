"""A read-only window for saved comparisons."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QLabel, QMainWindow, QSplitter, QWidget

from qplayground.catalog.saved_model import saved_model_obstacle
from qplayground.core.comparison.baseline import refresh_divergence
from qplayground.core.comparison.results import Comparison
from qplayground.report.describe import machine_text, settings_text, when_text
from qplayground.ui.comparison.comparison_tabs import ComparisonTabs
from qplayground.ui.comparison.results_view import ResultsView
from qplayground.ui.dialogs.exporting import export
from qplayground.ui.dialogs.modules_dialog import ModulesDialog
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.page import scrolling_page
from qplayground.ui.widgets.parts import in_column
from qplayground.ui.widgets.window_size import size_for_screen

if TYPE_CHECKING:
    from qplayground.ui.comparison.memory_bars_view import MemoryBarsView

_VIEW_HEIGHT, _TABS_HEIGHT = 480, 200  # ratios of the heights: the text columns get more than the tabs


class ComparisonWindow(QMainWindow):
    """Shows one comparison with its charts, or two stacked with a shared table. Needs neither model nor engine.

    A baseline chosen here is not saved. Signals: `closed(self)`; `inside_requested(ComparedModel, str)` with the name
    of a layer, emitted only if the model still exists.
    """

    closed = Signal(object)
    inside_requested = Signal(object, str)

    def __init__(self, comparisons: Sequence[Comparison]) -> None:
        super().__init__()
        self.setWindowTitle(" | ".join(f"{shown.title}, {when_text(shown)}" for shown in comparisons))
        size_for_screen(self)
        self.comparisons = tuple(comparisons)
        self._titles = [QLabel(textFormat=Qt.TextFormat.PlainText, wordWrap=True) for _ in comparisons]
        self.views = [self._view(comparison) for comparison in comparisons]
        self.tabs = ComparisonTabs()
        self.tabs.inside_obstacle = saved_model_obstacle
        self.tabs.inside_requested.connect(self.inside_requested)
        self.tabs.load_charts()
        self.memory: MemoryBarsView | None = None
        if len(comparisons) > 1:
            self.tabs.show_both(comparisons)
        else:
            self.tabs.show_comparison(comparisons[0])
            self._add_memory(comparisons[0])
        splitter = QSplitter(Qt.Orientation.Vertical, childrenCollapsible=False)
        for view, title in zip(self.views, self._titles, strict=True):
            splitter.addWidget(self._titled(view, title))
        self._show_titles()
        splitter.addWidget(self.tabs)
        splitter.setSizes([_VIEW_HEIGHT] * len(self.views) + [_TABS_HEIGHT])
        self.setCentralWidget(scrolling_page(splitter))
        QShortcut(QKeySequence(QKeySequence.StandardKey.Close), self, self.close)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Save), self, partial(export, self, self.comparisons[0]))

    def _view(self, comparison: Comparison) -> ResultsView:
        refresh_divergence(comparison)
        view = ResultsView(read_only=True)
        view.show_comparison(comparison)
        view.modules_requested.connect(lambda name: ModulesDialog(comparison.run(name), self).show())
        view.baseline_chosen.connect(lambda name: self._set_baseline(comparison, view, name))
        view.export_requested.connect(partial(export, self, comparison))
        return view

    def _add_memory(self, comparison: Comparison) -> None:
        from qplayground.ui.comparison.memory_bars_view import MemoryBarsView  # imports pyqtgraph, which takes 0.5 s

        self.memory = MemoryBarsView()
        self.memory.show_comparison(comparison)
        self.tabs.insertTab(0, self.memory, "Memor&y")
        self.tabs.setCurrentIndex(0)

    def _titled(self, view: ResultsView, title: QLabel) -> QWidget:
        title.setContentsMargins(theme.GRID, theme.HALF_GRID, theme.GRID, 0)
        box = QWidget()
        in_column(title, view, within=box, grows=view)
        return box

    def _show_titles(self) -> None:
        for number, (title, comparison) in enumerate(zip(self._titles, self.comparisons, strict=True), start=1):
            about = [comparison.title, when_text(comparison), settings_text(comparison)]
            if not comparison.is_finished:
                about.append("still running when this was opened; open it again to see more")
            title.setText((f"{number} · " if len(self.comparisons) > 1 else "") + " · ".join(about))
            title.setToolTip(theme.tip(machine_text(comparison)))

    def _set_baseline(self, comparison: Comparison, view: ResultsView, name: str) -> None:
        comparison.baseline = name
        refresh_divergence(comparison)
        view.show_comparison(comparison)
        self._show_titles()
        self.tabs.refresh()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Emit `closed`, so that the owner can drop this window."""
        super().closeEvent(event)
        self.closed.emit(self)
