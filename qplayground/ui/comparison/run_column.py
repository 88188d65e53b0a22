"""One precision's column: its name, its text, its figures."""

from collections.abc import Sequence

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QSizePolicy, QVBoxLayout

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.baseline import text_changes
from qplayground.core.comparison.results import Comparison, Run, RunState
from qplayground.core.measures.divergence import diverge
from qplayground.core.messages.events import Phase, Progressed
from qplayground.core.tokens import Token
from qplayground.core.units import bytes_text
from qplayground.report.describe import PHASE_TEXT
from qplayground.ui.comparison.run_figures import RunFigures
from qplayground.ui.comparison.token_text import TokenText
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import flat_button, heading, in_column, in_row, selectable_label

FLUSH_MS = 100
MINIMUM_WIDTH = 232
_STATE_TEXT = {
    RunState.QUEUED: "queued",
    RunState.STARTING: "starting an engine",
    RunState.LOADING: "loading",
    RunState.READY: "loaded, waits for the others",
    RunState.GENERATING: "generating",
    RunState.SCORING: "waits to be scored",
    RunState.DONE: "done",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "stopped",
}
IN_WORK = (RunState.STARTING, RunState.LOADING, RunState.GENERATING, RunState.SCORING)


class RunColumn(QFrame):
    """Shows one run. Text is drawn at most ten times a second, because drawing takes CPU time from the timed engine.

    `is_saved`: the run gets no updates. If it is unfinished, it is shown as it was when loaded.

    Signals: `menu_requested(QToolButton)`, to show the run's menu at the button; `details_requested()` for a failed
    run.
    """

    menu_requested = Signal(object)
    details_requested = Signal()

    def __init__(self, comparison: Comparison, run: Run, *, is_saved: bool = False) -> None:
        super().__init__()
        self._is_saved = is_saved
        self._shows_changes = False
        self._pending: list[Token] = []
        theme.follow_text(self, lambda: self.setMinimumWidth(round(MINIMUM_WIDTH * theme.text_scale())))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.text = TokenText()
        self.figures = RunFigures()
        in_column(
            self._build_header(),
            self.text,
            self._build_progress(),
            self._build_state(),
            self.figures,
            within=self,
            grows=self.text,
            spacing=theme.HALF_GRID,
            margins=(theme.GRID, theme.HALF_GRID, theme.GRID, theme.GRID),
        )
        self._flush_timer = QTimer(self, singleShot=True, interval=FLUSH_MS)
        self._flush_timer.timeout.connect(self.flush)
        self.show_run(comparison, run)

    # ---- build -----------------------------------------------------------------------------------------------

    def _build_header(self) -> QHBoxLayout:
        self._swatch = QLabel(textFormat=Qt.TextFormat.PlainText)
        self._title = heading()
        self.tag = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.tag.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.menu = flat_button("⋯")
        self.menu.clicked.connect(lambda: self.menu_requested.emit(self.menu))
        return in_row(self._swatch, self._title, None, self.tag, self.menu)

    def _build_progress(self) -> QProgressBar:
        self.progress = QProgressBar(textVisible=False)
        self.progress.setFixedHeight(theme.HALF_GRID)
        self.progress.setAccessibleName("Progress")
        policy = self.progress.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # the layout must not jump while text streams in
        self.progress.setSizePolicy(policy)
        return self.progress

    def _build_state(self) -> QVBoxLayout:
        self.state = selectable_label("State")
        tip = "What happened, with the engine's last output"
        self.details = flat_button("Details…", tip, self.details_requested)
        self.details.hide()
        rows = in_column(self.state, self.details)
        rows.setAlignment(self.details, Qt.AlignmentFlag.AlignLeft)
        return rows

    # ---- model → widget --------------------------------------------------------------------------------------

    def show_run(self, comparison: Comparison, run: Run) -> None:
        """Show another run from its beginning. Only the choice of how texts are shown is kept."""
        self.comparison, self.run = comparison, run
        self._phase: Phase | None = None
        self._common_tokens = 0
        self._flush_timer.stop()
        label = run.precision.label
        self.setAccessibleName(f"{label}, {run.precision.summary}")
        self._title.setText(label)
        self._title.setToolTip(theme.tip(run.precision.summary))
        self.menu.setToolTip(theme.tip(f"What can be done with {label}"))
        self.menu.setAccessibleName(f"Actions of {label}")
        self.text.setAccessibleName(f"Text written in {label}")
        self._paint_swatch()
        self.progress.setRange(0, 100)
        self.progress.reset()
        self.text.verticalScrollBar().setValue(0)
        self.show_text()
        self.refresh()

    def add_tokens(self, tokens: Sequence[Token]) -> None:
        """Append streamed tokens. They are drawn at once, or shortly after if some have just been drawn."""
        self._pending += tokens
        if not self._flush_timer.isActive():
            self.flush()

    def flush(self) -> None:
        """Draw the pending tokens."""
        if not self._pending:
            return
        self._flush_timer.start()
        self.text.append_tokens(self._pending)
        self._pending.clear()
        self._mark_difference()
        written = len(self.run.token_ids)
        if self.run.state is RunState.GENERATING and written - self.progress.value() >= self.progress.maximum() / 50:
            self.progress.setValue(written)  # repaints at once, even for a tiny change

    def show_text(self, changes: bool | None = None) -> None:
        """Show the run's text. `changes`: word by word against the baseline's; None keeps the current choice."""
        if changes is not None:
            self._shows_changes = changes
        self._pending.clear()
        self._compared_with: Run | None = None
        baseline = self.comparison.baseline_run
        if self._shows_changes and baseline is not None and baseline is not self.run and self._both_are_over(baseline):
            self.text.show_changes(self.comparison.lead, text_changes(self.run, baseline))
        else:
            self.text.show_text(self.comparison.lead, self.run.tokens, self.run.text)
        self._mark_difference()

    def show_phase(self, phase: Phase) -> None:
        """Show the engine's current phase."""
        self._phase = phase
        # An animated bar would take CPU time from the timed engine.
        most, done = self.comparison.settings.max_new_tokens, 0
        samples = self.run.speed.ttft_samples
        if phase is Phase.SCORE:
            most = 1000
        elif self.comparison.rounds > 1 and phase in (Phase.WARM_UP, Phase.PREFILL, Phase.DECODE):
            most = self.comparison.rounds  # a round reports nothing before its end
            done = 0 if samples is None else samples.n
        self.progress.setRange(0, most)
        self.progress.setValue(done)
        self._show_state()

    def show_progress(self, event: Progressed) -> None:
        """Show the progress within the phase."""
        self.progress.setRange(0, 1000 if event.total else 0)
        self.progress.setValue(round(1000 * event.done / max(event.total, 1)))
        amount = f" · {_amount_text(event)}" if event.total else ""
        self.state.setText(f"{event.label.lower()}{amount}")

    def refresh(self) -> None:
        """Show the run's state, its figures, and their relation to the baseline's."""
        run = self.run
        if run.state.is_final:
            self.flush()
            if self._shows_changes or self.text.toPlainText() != self.comparison.lead + run.text:
                self.show_text()
        self._mark_difference()
        is_baseline = run.id == self.comparison.baseline
        self.setFrameShape(QFrame.Shape.Box if is_baseline else QFrame.Shape.NoFrame)
        tags = ["edited"] * run.precision.is_edited + ["baseline"] * is_baseline
        self.tag.setText(" · ".join(tags))
        self.tag.setToolTip(
            "The precision that the others are compared with" if is_baseline else theme.tip(run.precision.summary)
        )
        self.progress.setVisible(run.state in IN_WORK)
        self._show_state()
        self.text.no_probabilities = run.lacks.get(Capability.PROBABILITIES, "")
        self.figures.show_run(self.comparison, run)

    def _show_state(self) -> None:
        run = self.run
        role = QPalette.ColorRole.PlaceholderText if run.error is None else QPalette.ColorRole.BrightText
        self.state.setForegroundRole(role)
        self.details.setVisible(run.error is not None)
        if run.error is not None:
            self.state.setText(f"Failed: {run.error}")
        elif run.state is RunState.DONE:
            ended = " · ended by itself" if run.finish_reason == "stop" else ""
            self.state.setText(f"{len(run.token_ids)} tokens{ended}{self._unscored()}{self._same()}")
        elif run.state is RunState.CANCELLED and run.speed.ttft_samples is not None:
            self.state.setText(
                f"stopped after round {run.speed.ttft_samples.n} of {self.comparison.rounds}"
                f"{self._unscored()}{self._same()}"
            )
        elif run.state is RunState.CANCELLED and run.token_ids:
            self.state.setText(f"stopped after {len(run.token_ids)} tokens{self._same()}")
        elif run.state is RunState.CANCELLED and run.finish_reason is None:
            self.state.setText("not run")
        elif self._is_saved and not run.state.is_final:
            samples = run.speed.ttft_samples
            rounds = "" if samples is None else f" · {samples.n} of {self.comparison.rounds} rounds"
            self.state.setText(f"still running when this was opened{rounds}")
        elif self._phase is not None and run.state in (RunState.LOADING, RunState.GENERATING, RunState.SCORING):
            self.state.setText(f"{PHASE_TEXT[self._phase]}{self._round()}")
        else:
            self.state.setText(f"{_STATE_TEXT[run.state]}{self._round()}")

    def _round(self) -> str:
        rounds, samples = self.comparison.rounds, self.run.speed.ttft_samples
        return "" if rounds == 1 else f" · round {1 if samples is None else samples.n + 1} of {rounds}"

    def _unscored(self) -> str:
        quality = self.run.quality
        if quality is None or quality.perplexity is not None or quality.note is None:
            return ""
        return " · scoring stopped" if quality.was_stopped else " · not scored, see Quality"

    def _same(self) -> str:
        divergence = self.run.divergence
        if divergence is None or self.run.id == self.comparison.baseline:
            return ""
        baseline, common = self.comparison.baseline_run, divergence.common_prefix_tokens
        if divergence.first_token is not None or baseline is None:
            return f" · differs from token {common + 1}"
        if len(baseline.token_ids) == len(self.run.token_ids):
            return " · same text"
        return f" · same for {common} token{'s' if common != 1 else ''}"

    def _mark_difference(self) -> None:
        """Mark the first difference, also while streaming: the baseline's text usually exists already."""
        baseline = self.comparison.baseline_run
        if baseline is None or baseline is self.run or not baseline.state.is_final:
            self.text.set_first_difference(None)
            return
        if baseline is not self._compared_with or self._common_tokens > len(self.run.token_ids):
            self._compared_with, self._common_tokens = baseline, 0
        same = self._common_tokens  # only the new tokens of a streaming text are compared
        found = diverge(self.run.token_ids[same:], baseline.token_ids[same:])
        self._common_tokens += found.common_prefix_tokens
        self.text.set_first_difference(None if found.first_token is None else self._common_tokens)

    def _both_are_over(self, baseline: Run) -> bool:
        """Matching words takes a while, so it must not compete with a timed run."""
        both_wrote = bool(self.run.text) and bool(baseline.text)
        return both_wrote and self.run.state.is_final and baseline.state.is_final

    def _paint_swatch(self) -> None:
        self._swatch.setPixmap(theme.swatch(self.run.id, self).pixmap(theme.SWATCH, theme.SWATCH))

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_flush_timer"):
            self._paint_swatch()
        super().changeEvent(event)


def _amount_text(event: Progressed) -> str:
    if event.unit == "bytes":
        return f"{bytes_text(event.done)} of {bytes_text(event.total)}"
    return f"{event.done:,} of {event.total:,} {event.unit}"
