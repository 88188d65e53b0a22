"""The Memory tab: the timeline with the memory bars beside it."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QSplitter, QWidget

from qplayground.core.comparison.results import Comparison
from qplayground.core.memory.process_memory import MemorySample
from qplayground.core.messages.events import PhaseStarted
from qplayground.runtime.comparison.session import Session
from qplayground.ui.comparison.run_column import IN_WORK
from qplayground.ui.widgets.page import scroll_area
from qplayground.ui.widgets.placeholder import Placeholder

if TYPE_CHECKING:
    from qplayground.ui.charts.comparison.timeline import MemoryTimeline
    from qplayground.ui.comparison.memory_bars_view import MemoryBarsView

MEMORY_MODULES = ("qplayground.ui.charts.comparison.timeline", "qplayground.ui.comparison.memory_bars_view")
_BARS_SOON_MS = 100


class MemoryView(Placeholder):
    """Shows the session's memory measurements. Call `load_charts` first."""

    def __init__(self, session: Session) -> None:
        super().__init__("The memory of each engine is drawn here while it runs.")
        self._session = session
        self._timeline: MemoryTimeline | None = None
        self._bars: MemoryBarsView | None = None
        self._bars_soon = QTimer(self, singleShot=True, interval=_BARS_SOON_MS)  # one redraw for many changes
        self._bars_soon.timeout.connect(self._show_bars)

    @property
    def timeline(self) -> "MemoryTimeline":
        """The memory timeline. Raises RuntimeError before `load_charts`."""
        if self._timeline is None:
            raise RuntimeError("the charts are not loaded yet")
        return self._timeline

    @property
    def chart(self) -> QWidget | None:
        """The chart that can be saved."""
        return None if self._timeline is None else self._timeline.view

    @Slot()
    def load_charts(self) -> None:
        """Create the charts. Takes 0.5 s unless MEMORY_MODULES are imported already."""
        from qplayground.ui.charts.comparison.timeline import MemoryTimeline
        from qplayground.ui.comparison.memory_bars_view import MemoryBarsView

        self._timeline = MemoryTimeline()
        self._bars = MemoryBarsView("◇–◇:\N{NO-BREAK SPACE}predicted")
        splitter = QSplitter(Qt.Orientation.Horizontal, childrenCollapsible=False)
        splitter.addWidget(scroll_area(self._timeline, only_down=True))
        splitter.addWidget(self._bars)
        splitter.setStretchFactor(0, 3)
        splitter.setStretchFactor(1, 2)
        self.put(splitter)
        session = self._session
        session.memory_sampled.connect(self._on_memory_sampled)
        session.phase_started.connect(self._timeline.begin_phase)
        session.unloading.connect(self._on_unloading)
        session.run_changed.connect(self._on_run_changed)
        session.run_cleared.connect(self._on_cleared)
        session.comparison_started.connect(self._on_started)
        session.comparison_changed.connect(self._on_changed)
        session.comparison_finished.connect(self._timeline.show_all)
        if session.comparison is not None:
            self._on_started()

    @Slot()
    def _on_started(self) -> None:
        self.timeline.clear(self._session.started_s)
        self._show_bars()
        self.reveal()  # not earlier: empty axes would show values that nothing measured

    def _is_shown(self, name: str) -> bool:
        """Whether the engine belongs to the current comparison. Others may be kept loaded."""
        comparison = self._session.comparison
        return comparison is not None and any(run.id == name for run in comparison.runs)

    @Slot(str, object)
    def _on_memory_sampled(self, name: str, samples: list[MemorySample]) -> None:
        if self._is_shown(name):
            self.timeline.add_samples(name, samples)

    @Slot(str, object)
    def _on_unloading(self, name: str, event: PhaseStarted) -> None:
        if self._is_shown(name):
            self.timeline.begin_phase(name, event)

    @Slot(str)
    def _on_cleared(self, name: str) -> None:
        """A repeated run has lost its figures; a run in its next benchmark round keeps them."""
        comparison = self._session.comparison
        if comparison is not None and comparison.run(name).load.seconds is None:
            self.timeline.forget(name)

    @Slot(object)
    def _on_changed(self, comparison: Comparison) -> None:
        self.timeline.keep_only({run.id for run in comparison.runs})
        self._show_bars()

    @Slot(str)
    def _on_run_changed(self, name: str) -> None:
        self._bars_soon.start()
        comparison = self._session.comparison
        if comparison is None:
            return
        run = comparison.run(name)
        self.timeline.set_level(name, run.memory.predicted_resident_bytes)
        if run.state not in IN_WORK:
            self.timeline.end_phases(name)

    @Slot()
    def _show_bars(self) -> None:
        if self._bars is not None and self.isVisible():
            self._bars.show_comparison(self._session.comparison)

    def showEvent(self, event: QShowEvent) -> None:
        self._show_bars()
        super().showEvent(event)
