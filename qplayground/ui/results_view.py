"""The columns side by side."""

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QStackedLayout, QWidget

from qplayground.core.messages import PhaseStarted, Progressed
from qplayground.core.results import Comparison
from qplayground.core.tokens import Token
from qplayground.runtime.session import Session
from qplayground.ui import theme
from qplayground.ui.run_column import RunColumn


class ResultsView(QWidget):
    """One column a run of the session's comparison; before the first, a sentence that says what to do."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.columns: dict[str, RunColumn] = {}
        empty = QLabel("Tick precisions, type a prompt, press Compare.\nEach precision writes its text here.")
        empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        empty.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setAccessibleName("Results")
        self._stack = QStackedLayout(self)
        self._stack.setContentsMargins(0, 0, 0, 0)
        self._stack.addWidget(empty)
        self._stack.addWidget(self._scroll)
        session.comparison_started.connect(self._on_started)
        session.run_changed.connect(self._on_run_changed)
        session.tokens_added.connect(self._on_tokens_added)
        session.phase_started.connect(self._on_phase_started)
        session.progressed.connect(self._on_progressed)

    @Slot(object)
    def _on_started(self, comparison: Comparison) -> None:
        self.columns = {run.precision: RunColumn(comparison, run) for run in comparison.runs}
        strip = QWidget()
        layout = QHBoxLayout(strip)
        layout.setContentsMargins(theme.HALF_GRID, theme.HALF_GRID, theme.HALF_GRID, theme.HALF_GRID)
        layout.setSpacing(theme.HALF_GRID)
        for column in self.columns.values():
            layout.addWidget(column)
        self._scroll.setWidget(strip)
        self._stack.setCurrentIndex(1)

    @Slot(str)
    def _on_run_changed(self, name: str) -> None:
        self.columns[name].refresh()

    @Slot(str, object)
    def _on_tokens_added(self, name: str, tokens: tuple[Token, ...]) -> None:
        self.columns[name].add_text("".join(token.text for token in tokens))

    @Slot(str, object)
    def _on_phase_started(self, name: str, event: PhaseStarted) -> None:
        self.columns[name].show_phase(event.phase)

    @Slot(str, object)
    def _on_progressed(self, name: str, event: Progressed) -> None:
        self.columns[name].show_progress(event)
