"""A comparison without a window."""

import time

from msgspec.structs import replace
from PySide6.QtCore import Slot

from qplayground.console.task import ConsoleTask, amount_text
from qplayground.core.comparison.results import Comparison, Run, RunState
from qplayground.core.memory.estimate import Verdict
from qplayground.core.memory.fit import Fit
from qplayground.core.messages.events import Phase, PhaseStarted, Progressed
from qplayground.core.model import ModelEntry
from qplayground.core.placement import CPU
from qplayground.core.units import bytes_text
from qplayground.report.describe import PHASE_TEXT, state_text
from qplayground.runtime.comparison.request import ComparisonRequest, as_run_on, check_devices, needs_machine
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.models.library import Library

SILENCE_S = 5.0
"""After so long without a line, one says how many tokens there are."""


class ConsoleComparison(ConsoleTask):
    """Runs one comparison, which is then in `comparison`, and says how it goes."""

    def __init__(self, session: Session, library: Library) -> None:
        super().__init__(session, library)
        self._wanted: ComparisonRequest | None = None
        self.comparison: Comparison | None = None
        self._reasons: set[str] = set()
        self._said_at = 0.0
        session.run_changed.connect(self._on_run_changed)
        session.fit_known.connect(self._on_fit_known)
        session.phase_started.connect(self._on_phase_started)
        session.progressed.connect(self._on_progressed)
        session.tokens_added.connect(self._on_tokens_added)
        session.comparison_finished.connect(self._on_finished)

    def run(self, model: str, wanted: ComparisonRequest) -> None:
        """Run Qt's loop until the comparison is over. Raises PlaygroundError when it cannot be started."""
        wanted.check()
        self._wanted = wanted
        self.run_task(model, needs_machine=needs_machine(wanted.placement, wanted.precisions))

    def check_machine(self) -> None:
        """Refuse a device that is not there, and do without a type that its GPU lacks."""
        wanted, machine = self._wanted, self.session.machine
        assert wanted is not None and machine is not None
        check_devices(wanted.placement, machine)
        self._wanted = replace(wanted, precisions=as_run_on(machine, wanted.placement, wanted.precisions))

    def work(self, entry: ModelEntry) -> None:
        """Start the comparison."""
        assert self._wanted is not None
        self.session.compare(entry, self._wanted)

    def interrupt(self) -> None:
        """Stop the comparison, or whatever comes before it."""
        if self.session.is_busy:
            self.session.stop()
        else:
            super().interrupt()

    @Slot(str)
    def _on_run_changed(self, name: str) -> None:
        comparison = self.session.comparison
        if comparison is not None:
            run = comparison.run(name)
            if run.state.is_final or run.state is RunState.STARTING:
                self.say(f"{name}: {state_text(run)}{self._reason(run)}")

    def _reason(self, run: Run) -> str:
        """Why it failed. What is wrong with a model meets each of its precisions, and is said once."""
        if run.error is None:
            return ""
        first = str(run.error) not in self._reasons
        self._reasons.add(str(run.error))
        return f": {run.error}" if first else " for the same reason"

    @Slot(str, object)
    def _on_fit_known(self, name: str, fit: Fit) -> None:
        """Nobody is here to ask, so what does not fit is loaded all the same."""
        if fit.verdict not in (Verdict.WONT_FIT, Verdict.TIGHT):
            return
        where = "" if fit.device == CPU else f" on {fit.device}"
        sentence = f"{name} needs {bytes_text(fit.needed_bytes)} where {bytes_text(fit.available_bytes)} are available"
        what = "that is tight" if fit.verdict is Verdict.TIGHT else "it is loaded anyway"
        self.say(f"{sentence}{where}; {what}")

    @Slot(str, object)
    def _on_phase_started(self, name: str, event: PhaseStarted) -> None:
        if event.phase in (Phase.LOAD, Phase.QUANTIZE, Phase.PREFILL, Phase.DECODE):
            self.say(f"{name}: {PHASE_TEXT[event.phase]}{self._round(name) if event.phase is Phase.PREFILL else ''}")

    def _round(self, name: str) -> str:
        comparison = self.session.comparison
        if comparison is None or comparison.rounds == 1:
            return ""
        samples = comparison.run(name).speed.ttft_samples
        return f", round {1 if samples is None else samples.n + 1} of {comparison.rounds}"

    @Slot(str, object)
    def _on_progressed(self, name: str, progress: Progressed) -> None:
        if progress.done == progress.total and progress.total:
            self.say(f"{name}: {progress.label.lower()}, {amount_text(progress)}")

    @Slot(str, object)
    def _on_tokens_added(self, name: str, _tokens: object) -> None:
        """A slow text shows that it goes on."""
        comparison = self.session.comparison
        if comparison is not None and time.monotonic() - self._said_at >= SILENCE_S:
            count = len(comparison.run(name).tokens)
            self.say(f"{name}: {count} of {comparison.settings.max_new_tokens} tokens")

    def say(self, text: str) -> None:
        """Tell how it goes, and remember when."""
        self._said_at = time.monotonic()
        super().say(text)

    @Slot(object)
    def _on_finished(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.finish()
