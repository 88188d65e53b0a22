"""One precision's column: what it is, what it writes, what it cost."""

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QPalette, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from qplayground.core.caveats import caveats
from qplayground.core.messages import Phase, Progressed
from qplayground.core.results import Comparison, Run, RunState
from qplayground.core.units import bytes_text, rate_text, seconds_text
from qplayground.ui import theme

FLUSH_MS = 100
MINIMUM_WIDTH = 232
_STATE_TEXT = {
    RunState.QUEUED: "queued",
    RunState.STARTING: "starting an engine",
    RunState.LOADING: "loading",
    RunState.READY: "loaded",
    RunState.GENERATING: "generating",
    RunState.DONE: "done",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "stopped",
}
_PHASE_TEXT = {
    Phase.START: "preparing",
    Phase.LOAD: "loading",
    Phase.QUANTIZE: "loading and quantizing",
    Phase.COPY: "copying into memory",
    Phase.WARM_UP: "warming up",
    Phase.CHECK: "checking every weight",
    Phase.PREFILL: "reading the prompt",
    Phase.DECODE: "generating",
    Phase.UNLOAD: "unloading",
}
_FIGURES = (
    ("Decode", "Tokens a second after the first: (n-1) / (time of the last - time of the first)"),
    ("RAM", "Resident memory of the engine after loading, then after its run, the libraries' own share included"),
    ("First", "Time to first token: from the call of generate, the prompt's reading included"),
    ("Peak", "The highest resident memory that the engine had, loading included"),
    ("Load", "From opening the checkpoint to a model that has run once, every weight in memory; libraries come before"),
    ("Weights", "Bytes of the tensors that the model holds, scales and tables included, tied ones counted once"),
)
_GPU_FIGURES = (
    ("VRAM", "GPU memory that torch had allocated at the end of the run"),
    ("VRAM peak", "The most GPU memory that torch had allocated, loading included"),
)


class RunColumn(QFrame):
    """Shows one run. Text is drawn ten times a second at most: drawing takes processor time from what is timed."""

    def __init__(self, comparison: Comparison, run: Run, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._comparison = comparison
        self._run = run
        baseline = run.precision == comparison.baseline
        self._pending = ""
        self._phase: Phase | None = None
        self.setAccessibleName(f"{run.recipe.label}, {run.recipe.summary}")
        self.setFrameShape(QFrame.Shape.Box if baseline else QFrame.Shape.NoFrame)
        self.setMinimumWidth(MINIMUM_WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.GRID, theme.GRID, theme.GRID, theme.GRID)
        layout.setSpacing(theme.HALF_GRID)
        layout.addLayout(self._build_header(baseline))
        layout.addWidget(self._build_text(), 1)
        layout.addWidget(self._build_progress())
        layout.addWidget(self._build_state())
        layout.addWidget(self._build_caveat())
        layout.addLayout(self._build_figures())
        self._flush_timer = QTimer(self, singleShot=True, interval=FLUSH_MS)
        self._flush_timer.timeout.connect(self.flush)
        self.refresh()

    # ---- build -----------------------------------------------------------------------------------------------

    def _build_header(self, baseline: bool) -> QHBoxLayout:
        self._swatch = QLabel()
        title = QLabel(self._run.recipe.label)
        font = title.font()
        font.setBold(True)
        title.setFont(font)
        title.setToolTip(self._run.recipe.summary)
        row = QHBoxLayout()
        row.setSpacing(theme.GRID)
        row.addWidget(self._swatch)
        row.addWidget(title)
        row.addStretch()
        if baseline:
            tag = QLabel("baseline")
            tag.setToolTip("The precision that the others are compared with")
            tag.setForegroundRole(QPalette.ColorRole.PlaceholderText)
            row.addWidget(tag)
        self._paint_swatch()
        return row

    def _build_text(self) -> QPlainTextEdit:
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.text.setAccessibleName(f"Text written in {self._run.recipe.label}")
        self.text.setFrameShape(QFrame.Shape.NoFrame)
        self._show_text()
        return self.text

    def _build_progress(self) -> QProgressBar:
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(theme.HALF_GRID)
        self.progress.setAccessibleName("Progress")
        policy = self.progress.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # what streams must not make the layout jump
        self.progress.setSizePolicy(policy)
        return self.progress

    def _build_state(self) -> QLabel:
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.state.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.state.setAccessibleName("State")
        return self.state

    def _build_caveat(self) -> QLabel:
        self.caveat = QLabel()
        self.caveat.setWordWrap(True)
        self.caveat.setForegroundRole(QPalette.ColorRole.BrightText)
        self.caveat.setAccessibleName("What spoilt the figures")
        self.caveat.hide()
        return self.caveat

    def _build_figures(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.HALF_GRID)
        grid.setVerticalSpacing(0)
        for column, stretch in enumerate((0, 1, 0, 0, 1)):
            grid.setColumnStretch(column, stretch)
        grid.setColumnMinimumWidth(2, theme.GRID)
        self.figures: dict[str, QLabel] = {}
        self._gpu_labels: list[QLabel] = []
        for place, (name, explanation) in enumerate((*_FIGURES, *_GPU_FIGURES)):
            row, side = divmod(place, 2)
            label = QLabel(name)
            label.setFont(theme.small(label.font()))
            label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
            value = QLabel("–")
            value.setFont(theme.tabular(theme.small(value.font())))
            value.setAlignment(Qt.AlignmentFlag.AlignRight)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            value.setAccessibleName(name)
            for widget in (label, value):
                widget.setToolTip(explanation)
            grid.addWidget(label, row, 3 * side)
            grid.addWidget(value, row, 3 * side + 1)
            self.figures[name] = value
            if place >= len(_FIGURES):
                self._gpu_labels += [label, value]
        return grid

    # ---- model → widget --------------------------------------------------------------------------------------

    def add_text(self, text: str) -> None:
        """Take streamed text; it is shown at once, or a moment later when some has just been shown."""
        self._pending += text
        if not self._flush_timer.isActive():
            self.flush()

    def flush(self) -> None:
        """Show what has come in since the last time."""
        if not self._pending:
            return
        self._flush_timer.start()
        bar = self.text.verticalScrollBar()
        at_end = bar.value() == bar.maximum()
        cursor = QTextCursor(self.text.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(self._pending, self._format(self.palette().color(QPalette.ColorRole.Text)))
        self._pending = ""
        if self._run.state is RunState.GENERATING:
            self.progress.setValue(len(self._run.token_ids))
        if at_end:
            bar.setValue(bar.maximum())

    def show_phase(self, phase: Phase) -> None:
        """Show what the engine is busy with."""
        self._phase = phase
        # An animated bar would take processor time from what is timed.
        self.progress.setRange(0, self._comparison.settings.max_new_tokens)
        self.progress.setValue(0)
        self._show_state()

    def show_progress(self, event: Progressed) -> None:
        """Show how far it has come."""
        self.progress.setRange(0, 1000 if event.total else 0)
        self.progress.setValue(round(1000 * event.done / max(event.total, 1)))
        self.state.setText(f"{event.label.lower()} · {bytes_text(event.done)} of {bytes_text(event.total)}")

    def refresh(self) -> None:
        """Show the run's state and figures."""
        run = self._run
        if run.state.is_final:
            self.flush()
            if self.text.toPlainText() != self._comparison.lead + run.text:
                self._show_text()
        self.progress.setVisible(run.state in (RunState.STARTING, RunState.LOADING, RunState.GENERATING))
        self._show_state()
        self.caveat.setText("\n".join(caveats(self._comparison, run)))
        self.caveat.setVisible(bool(self.caveat.text()))
        memory = run.memory
        values = (
            rate_text(run.speed.decode_tokens_per_s),
            bytes_text(memory.resident_bytes),
            seconds_text(run.speed.ttft_s),
            bytes_text(memory.peak_resident_bytes),
            seconds_text(run.load.seconds),
            bytes_text(memory.weight_bytes),
            bytes_text(memory.vram_allocated_bytes),
            bytes_text(memory.vram_peak_bytes),
        )
        for (name, _), value in zip((*_FIGURES, *_GPU_FIGURES), values, strict=True):
            self.figures[name].setText(value)
        for label in self._gpu_labels:
            label.setVisible(memory.vram_allocated_bytes is not None)

    def _show_state(self) -> None:
        run = self._run
        self.state.setForegroundRole(
            QPalette.ColorRole.BrightText if run.error is not None else QPalette.ColorRole.PlaceholderText
        )
        if run.error is not None:
            self.state.setText(str(run.error))
            self.state.setToolTip(run.error.detail)
        elif run.state is RunState.DONE:
            why = "end token" if run.finish_reason == "stop" else "length reached"
            self.state.setText(f"done · {len(run.token_ids)} tokens · {why}")
        elif run.state is RunState.CANCELLED and run.token_ids:
            self.state.setText(f"stopped after {len(run.token_ids)} tokens")
        elif run.state is RunState.CANCELLED and self._phase is None:
            self.state.setText("not run")
        elif self._phase is not None and run.state in (RunState.LOADING, RunState.GENERATING):
            self.state.setText(_PHASE_TEXT[self._phase])
        else:
            self.state.setText(_STATE_TEXT[run.state])

    def _show_text(self) -> None:
        self.text.clear()
        cursor = QTextCursor(self.text.document())
        cursor.insertText(self._comparison.lead, self._format(self.palette().color(QPalette.ColorRole.PlaceholderText)))
        cursor.insertText(self._run.text, self._format(self.palette().color(QPalette.ColorRole.Text)))

    def _format(self, color: object) -> QTextCharFormat:
        made = QTextCharFormat()
        made.setForeground(color)  # type: ignore[arg-type]
        return made

    def _paint_swatch(self) -> None:
        self._swatch.setPixmap(theme.swatch(self._run.precision, self).pixmap(theme.SWATCH, theme.SWATCH))

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_flush_timer"):
            self._paint_swatch()
            self._pending = ""
            self._show_text()
        super().changeEvent(event)
