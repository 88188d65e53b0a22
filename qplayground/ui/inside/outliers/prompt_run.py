"""Runs the prompt once to find outliers: the button, the progress, and what was run or why it cannot run."""

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QLabel, QProgressBar, QPushButton, QWidget

from qplayground.core.dtype import Dtype
from qplayground.core.generation import GenerationRequest
from qplayground.core.messages.events import Progressed
from qplayground.core.messages.inside import InputsCaptured
from qplayground.core.units import bytes_text
from qplayground.runtime.inside.outliers import OutlierStudy
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import in_row

_STEPS = 1000
_PROMPT_SHOWN = 40
_PAUSED = "A comparison is running. Run the prompt afterwards, so that neither disturbs the other's timing."
_STOPPED = "Stopped, because a comparison began. Run the prompt again when that is over."


class PromptRun(QWidget):
    """Owns the prompt to run, and the settings that the captured inputs came from.

    Signal: `about_to_run()`, before captured inputs are discarded.
    """

    about_to_run = Signal()

    def __init__(self, study: OutlierStudy) -> None:
        super().__init__()
        self._study = study
        self.path = ""
        self._quantized_by = ""
        self._request = GenerationRequest()
        self._dtype = Dtype.BFLOAT16
        self._captured_from: tuple[GenerationRequest, Dtype] | None = None
        self._captured: InputsCaptured | None = None
        self._paused = self._was_stopped = False
        self._note = ""
        self.run = QPushButton("&Run the prompt")
        self.run.clicked.connect(self._on_run)
        self.cancel = QPushButton("Cancel")
        self.cancel.clicked.connect(study.cancel)
        self.cancel.hide()
        self.progress = QProgressBar()
        self.progress.setAccessibleName("Progress of the model's load")
        self.progress.setFixedWidth(20 * theme.GRID)
        self.progress.hide()
        self.state = QLabel(textFormat=Qt.TextFormat.PlainText, wordWrap=True)
        self.state.setMinimumWidth(1)
        in_row(self.run, self.cancel, self.progress, self.state, within=self, grows=self.state, spacing=-1)
        study.progressed.connect(self._on_progressed)
        study.captured.connect(self._on_captured)
        study.busy_changed.connect(self._on_busy_changed)

    # ---- public methods -------------------------------------------------------------------------------------------

    def show_model(self, path: str, quantized_by: str, request: GenerationRequest, dtype: Dtype) -> None:
        """Set the model, the prompt to run, and the `dtype`."""
        self.path, self._quantized_by, self._request, self._dtype = path, quantized_by, request, dtype
        self.show_state(self._note)

    def set_paused(self, paused: bool) -> None:
        """Pause during a comparison: no prompt is run. The caller stops one that is running."""
        self._paused = paused
        self._was_stopped = paused and (self._was_stopped or self._study.is_capturing)

    def forget(self) -> None:
        """The captured inputs are gone."""
        self._captured_from = self._captured = None

    def show_state(self, note: str = "") -> None:
        """Show what was run, followed by `note`, or what can be run."""
        self._note = note
        obstacle = self._obstacle()
        self.run.setEnabled(not obstacle and not self._study.is_capturing)
        if self._study.is_capturing:
            return
        if self._captured is not None and self._captured.layers:
            self.say(f"{self._captured_text(self._captured)} {note}".strip())
        else:
            self.say(
                obstacle
                or f"This loads the model in {self._dtype} and lets it read the prompt once. The inputs of each layer "
                "are kept, and the model is unloaded."
            )
        self.run.setToolTip(theme.tip(obstacle or self._request.prompt))

    def say(self, sentence: str) -> None:
        """Show a sentence until the state is shown again."""
        self.state.setText(sentence)

    # ---- running --------------------------------------------------------------------------------------------------

    def _obstacle(self) -> str:
        """Why the prompt cannot run now; empty if it can."""
        if not self.path:
            return "Pick a model first."
        if self._quantized_by:
            return f"This model is quantized already ({self._quantized_by}): LLM.int8() needs the original one."
        if self._paused:
            return _STOPPED if self._was_stopped else _PAUSED
        error = self._request.error()
        return "" if error is None else str(error)

    def _captured_text(self, captured: InputsCaptured) -> str:
        assert self._captured_from is not None
        request, dtype = self._captured_from
        prompt = " ".join(request.prompt.split())
        shown = f"{prompt[:_PROMPT_SHOWN]}…" if len(prompt) > _PROMPT_SHOWN else prompt
        text = f"{captured.tokens:,} tokens read in {dtype}: “{shown}”."
        chat, now = request.settings.chat_template, self._request
        if (request.prompt, chat, dtype) != (now.prompt, now.settings.chat_template, self._dtype):
            text += " The prompt has changed since; run it again."
        return text

    @Slot()
    def _on_run(self) -> None:
        self.about_to_run.emit()
        self._captured_from = (self._request, self._dtype)
        self._study.capture(self.path, self._dtype, self._request)

    @Slot(bool)
    def _on_busy_changed(self, busy: bool) -> None:
        self.cancel.setVisible(busy)
        self.progress.setVisible(busy)
        if busy:
            self.progress.setRange(0, 0)
            self.say(f"Loading the model in {self._dtype} …")
        self.show_state(self._note)

    @Slot(object)
    def _on_progressed(self, event: Progressed) -> None:
        self.progress.setRange(0, _STEPS if event.total else 0)
        self.progress.setValue(round(_STEPS * event.done / max(event.total, 1)))
        in_bytes = event.unit == "bytes" and event.total
        amount = f", {bytes_text(event.done)} of {bytes_text(event.total)}" if in_bytes else ""
        self.say(f"{event.label}{amount} …")

    @Slot(object)
    def _on_captured(self, event: InputsCaptured) -> None:
        self._captured = event
        self.show_state(self._note)
        if not event.layers:
            self.say("This model has no layer that LLM.int8() would quantize.")
