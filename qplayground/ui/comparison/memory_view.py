"""The Memory tab: the timeline and, beside it, the bars."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QLabel, QSplitter, QStackedLayout, QWidget

from qplayground.core.comparison.results import Comparison, RunState
from qplayground.core.memory.process_memory import MemorySample
from qplayground.core.messages.events import PhaseStarted
from qplayground.runtime.comparison.session import Session

if TYPE_CHECKING:
    from qplayground.ui.charts.comparison.timeline import MemoryTimeline
    from qplayground.ui.comparison.memory_bars_view import MemoryBarsView

MEMORY_MODULES = ("qplayground.ui.charts.comparison.timeline", "qplayground.ui.comparison.memory_bars_view")
_BARS_SOON_MS = 100


class MemoryView(QWidget):
    """Shows what the session measures, once `load_charts` was called."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._timeline: MemoryTimeline | None = None
        self._bars: MemoryBarsView | None = None
        self._stack = QStackedLayout(self)
        self._stack.setContentsMargins(0, 0, 0, 0)
        self._waiting = QLabel("The memory of each engine is drawn here while it runs.")
        self._waiting.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._waiting.setForegroundRole(self.palette().ColorRole.PlaceholderText)
        self._stack.addWidget(self._waiting)
        self._bars_soon = QTimer(self, singleShot=True, interval=_BARS_SOON_MS)  # once for what changes in a moment
        self._bars_soon.timeout.connect(self._show_bars)

    @property
    def timeline(self) -> "MemoryTimeline":
        """The timeline. Raises RuntimeError before `load_charts`."""
        if self._timeline is None:
            raise RuntimeError("the charts are not loaded yet")
        return self._timeline

    @property
    def chart(self) -> QWidget | None:
        """What can be saved as a picture."""
        return None if self._timeline is None else self._timeline.view

    @Slot()
    def load_charts(self) -> None:
        """Make the charts. Takes half a second unless MEMORY_MODULES have been imported before."""
        from qplayground.ui.charts.comparison.timeline import MemoryTimeline
        from qplayground.ui.comparison.memory_bars_view import MemoryBarsView, scrolled

        self._timeline = MemoryTimeline()
        self._bars = MemoryBarsView("◇–◇:\N{NO-BREAK SPACE}predicted")
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(scrolled(self._timeline))
        splitter.addWidget(self._bars)
        splitter.setStretchFactor(0, 3)
        splitter.setStretchFactor(1, 2)
        self._stack.addWidget(splitter)
        self._session.memory_sampled.connect(self._on_memory_sampled)
        self._session.phase_started.connect(self._timeline.begin_phase)
        self._session.unloading.connect(self._on_unloading)
        self._session.run_changed.connect(self._on_run_changed)
        self._session.run_cleared.connect(self._on_cleared)
        self._session.comparison_started.connect(self._on_started)
        self._session.comparison_changed.connect(self._on_changed)
        self._session.comparison_finished.connect(self._on_finished)
        if self._session.comparison is not None:
            self._on_started(self._session.comparison)

    @Slot(object)
    def _on_started(self, _comparison: Comparison) -> None:
        if self._timeline is not None:
            self._timeline.clear(self._session.started_s)
            self._show_bars()
            self._stack.setCurrentIndex(1)  # axes without data would show figures that nothing measured

    @Slot(str, object)
    def _on_memory_sampled(self, name: str, samples: list[MemorySample]) -> None:
        """Of the comparison's own engines: others may be kept for another time."""
        comparison = self._session.comparison
        if comparison is not None and any(run.id == name for run in comparison.runs):
            self.timeline.add_samples(name, samples)

    @Slot(str, object)
    def _on_unloading(self, name: str, event: PhaseStarted) -> None:
        comparison = self._session.comparison
        if comparison is not None and any(run.id == name for run in comparison.runs):
            self.timeline.begin_phase(name, event)

    @Slot(str)
    def _on_cleared(self, name: str) -> None:
        """A run that goes again has no figures any more; one that begins its next round has."""
        comparison = self._session.comparison
        if self._timeline is not None and comparison is not None and comparison.run(name).load.seconds is None:
            self._timeline.forget(name)

    @Slot(object)
    def _on_changed(self, comparison: Comparison) -> None:
        if self._timeline is not None:
            self._timeline.keep_only({run.id for run in comparison.runs})
            self._show_bars()

    @Slot(object)
    def _on_finished(self, _comparison: Comparison) -> None:
        if self._timeline is not None:
            self._timeline.show_all()

    @Slot(str)
    def _on_run_changed(self, name: str) -> None:
        self._bars_soon.start()
        comparison = self._session.comparison
        if self._timeline is None or comparison is None:
            return
        run = comparison.run(name)
        self._timeline.set_level(name, run.memory.predicted_resident_bytes)
        if run.state not in (RunState.STARTING, RunState.LOADING, RunState.GENERATING, RunState.SCORING):
            self._timeline.end_phases(name)

    @Slot()
    def _show_bars(self) -> None:
        if self._bars is not None and self.isVisible():
            self._bars.show_comparison(self._session.comparison)

    def showEvent(self, event: QShowEvent) -> None:
        self._show_bars()
        super().showEvent(event)
