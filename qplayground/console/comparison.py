"""A comparison without a window."""

from PySide6.QtCore import Slot

from qplayground.console.task import ConsoleTask, amount_text
from qplayground.core.errors import PlaygroundError
from qplayground.core.messages import Phase, PhaseStarted, Progressed
from qplayground.core.model import ModelEntry
from qplayground.core.results import Comparison, RunState
from qplayground.report.describe import state_text
from qplayground.runtime.library import Library
from qplayground.runtime.planner import Planner
from qplayground.runtime.request import ComparisonRequest, check_device
from qplayground.runtime.session import Session


class ConsoleComparison(ConsoleTask):
    """Runs one comparison, which is then in `comparison`, and says how it goes."""

    def __init__(self, session: Session, library: Library, planner: Planner | None = None) -> None:
        super().__init__(session, library)
        self._planner = planner
        self._entry: ModelEntry | None = None
        self._wanted: ComparisonRequest | None = None
        self.comparison: Comparison | None = None
        session.run_changed.connect(self._on_run_changed)
        session.phase_started.connect(self._on_phase_started)
        session.progressed.connect(self._on_progressed)
        session.comparison_finished.connect(self._on_finished)

    def run(self, model: str, wanted: ComparisonRequest) -> None:
        """Run Qt's loop until the comparison is over. Raises PlaygroundError when it cannot be started."""
        wanted.check()
        self._wanted = wanted
        self.run_task(model, needs_machine=wanted.device not in ("auto", "cpu"))

    def check_machine(self) -> None:
        """Refuse a device that is not there."""
        assert self._wanted is not None and self.session.machine is not None
        check_device(self._wanted.device, self.session.machine)

    def work(self, entry: ModelEntry) -> None:
        """Start the comparison. What models can be kept beside each other, the planner is asked before."""
        assert self._wanted is not None
        self._entry = entry
        if self._planner is None:
            self.session.compare(entry, self._wanted)
            return
        self._planner.changed.connect(self._on_planned)
        self._planner.failed.connect(self._start)  # what is wrong with the model, its own engine will say
        wanted = self._wanted
        self._planner.ask(entry.checked_path(), wanted.precisions, device=wanted.device, request=wanted.request)

    @Slot()
    def _on_planned(self) -> None:
        if self._planner is not None and self._planner.answer is not None and self._planner.answer.final:
            self._start()

    @Slot()
    def _start(self) -> None:
        assert self._entry is not None and self._wanted is not None and self._planner is not None
        wanted, path = self._wanted, self._entry.checked_path()
        estimates = self._planner.estimates_of(path, wanted.precisions, wanted.device)
        self._planner.close()  # its engine is not to take what is measured
        try:
            self.session.compare(self._entry, wanted, estimates)
        except PlaygroundError as error:  # nobody above a slot would hear it
            self.refuse(error)

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
                self.say(f"{name}: {state_text(run)}{f': {run.error}' if run.error else ''}")

    @Slot(str, object)
    def _on_phase_started(self, name: str, event: PhaseStarted) -> None:
        if event.phase in (Phase.LOAD, Phase.QUANTIZE, Phase.PREFILL):
            self.say(f"{name}: {event.phase}{self._round(name) if event.phase is Phase.PREFILL else ''}")

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

    @Slot(object)
    def _on_finished(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.finish()
