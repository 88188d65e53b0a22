"""A comparison without a window: the same session and scheduler, progress on standard error."""

import sys
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QObject, Slot

from qplayground.catalog.cache import scan_cache
from qplayground.catalog.demo import DEMO_ID, demo_entry
from qplayground.catalog.download import check_repo_id
from qplayground.catalog.inspect import inspect_folder
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail
from qplayground.core.messages import Hello, Phase, PhaseStarted, Progressed
from qplayground.core.model import ModelEntry, ModelSource
from qplayground.core.results import Comparison, RunState
from qplayground.core.text import is_text
from qplayground.core.units import bytes_text
from qplayground.report.describe import state_text
from qplayground.runtime.jobs import Job
from qplayground.runtime.library import Library
from qplayground.runtime.request import ComparisonRequest
from qplayground.runtime.session import Session


class ConsoleComparison(QObject):
    """Finds or makes the model, runs one comparison, and leaves Qt's loop. `error` says why there is no comparison."""

    def __init__(self, session: Session, library: Library) -> None:
        super().__init__()
        self._session = session
        self._library = library
        self._wanted: ComparisonRequest | None = None
        self._model = ""
        self._refusal: PlaygroundError | None = None  # what a slot met that `run` is to raise
        self._hub_id: str | None = None
        self.comparison: Comparison | None = None
        self.error: ErrorInfo | None = None
        session.run_changed.connect(self._on_run_changed)
        session.phase_started.connect(self._on_phase_started)
        session.progressed.connect(self._on_progressed)
        session.comparison_finished.connect(self._on_finished)
        session.machine_known.connect(self._on_machine_known)
        session.machine_unknown.connect(self._give_up)
        library.model_added.connect(self._on_model_added)
        library.job_failed.connect(self._on_job_failed)
        library.job_started.connect(self._on_job_started)

    def run(self, model: str, wanted: ComparisonRequest) -> None:
        """Run Qt's loop until the comparison is over. Raises PlaygroundError when it cannot be started."""
        wanted.check()
        self._wanted, self._model = wanted, model
        if wanted.device in ("auto", "cpu"):
            self._begin()
        else:
            find_model(model)  # what is wrong with that is said at once
            self._session.probe()  # an engine knows which devices there are, and `_on_machine_known` begins
        if self.error is None:
            QCoreApplication.exec()
        if self._refusal is not None:
            raise self._refusal

    def _begin(self) -> None:
        entry = find_model(self._model)
        if entry is not None and (entry.usable or entry.problem is not None):
            self._compare(entry)
        elif entry is not None:  # the demo model, still to be made
            self._library.prepare_demo()
        else:
            check_repo_id(self._model)
            self._hub_id = self._model
            if self._session.machine is None:
                self._session.probe()  # a download is judged by what transformers can load, which an engine knows
            else:
                self._library.download(self._hub_id)

    def interrupt(self) -> None:
        """Stop what is going on: the comparison, the job before it, or the wait for an engine."""
        if self._session.is_busy:
            self._session.stop()
        elif self._library.job is not None:
            self._library.cancel_job()
        else:
            self._on_job_cancelled()

    def _compare(self, entry: ModelEntry) -> None:
        assert self._wanted is not None
        self._session.compare(entry, self._wanted)

    @Slot(object)
    def _give_up(self, error: ErrorInfo) -> None:
        self.error = error
        QCoreApplication.exit()

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    @Slot(object)
    def _on_machine_known(self, hello: Hello) -> None:
        if self.comparison is not None or self._session.is_busy or self._wanted is None:
            return
        self._library.set_causal_architectures(hello.causal_architectures)
        if self._hub_id is not None:
            self._library.download(self._hub_id)
            return
        try:
            self._begin_there()
        except PlaygroundError as error:
            self._refusal = error
            self._give_up(error.info)

    @Slot(object)
    def _on_model_added(self, entry: ModelEntry) -> None:
        try:
            self._compare(entry)
        except PlaygroundError as error:  # nobody above a slot would hear it
            self._give_up(error.info)

    def _begin_there(self) -> None:
        assert self._wanted is not None and self._session.machine is not None
        self._wanted.check_device(self._session.machine)
        self._begin()

    @Slot(object, object)
    def _on_job_failed(self, _job: Job, error: ErrorInfo) -> None:
        self._give_up(error)

    @Slot(object)
    def _on_job_started(self, job: Job) -> None:
        self._say(f"{job.title} …")
        job.progressed.connect(self._on_job_progressed)
        job.cancelled.connect(self._on_job_cancelled)

    @Slot(object)
    def _on_job_progressed(self, progress: Progressed) -> None:
        if progress.done == progress.total:
            self._say(f"  {progress.label.lower()}{f', {_amount(progress)}' if progress.total else ''}")

    @Slot()
    def _on_job_cancelled(self) -> None:
        self._give_up(ErrorInfo(ErrorCode.DEMO_UNAVAILABLE, "Cancelled.", ""))

    @Slot(str)
    def _on_run_changed(self, name: str) -> None:
        comparison = self._session.comparison
        if comparison is not None:
            run = comparison.run(name)
            if run.state.is_final or run.state is RunState.STARTING:
                self._say(f"{name}: {state_text(run)}{f': {run.error}' if run.error else ''}")

    @Slot(str, object)
    def _on_phase_started(self, name: str, event: PhaseStarted) -> None:
        if event.phase in (Phase.LOAD, Phase.QUANTIZE, Phase.PREFILL):
            self._say(f"{name}: {event.phase}{self._round(name) if event.phase is Phase.PREFILL else ''}")

    def _round(self, name: str) -> str:
        comparison = self._session.comparison
        if comparison is None or comparison.rounds == 1:
            return ""
        samples = comparison.run(name).speed.ttft_samples
        return f", round {1 if samples is None else samples.n + 1} of {comparison.rounds}"

    @Slot(str, object)
    def _on_progressed(self, name: str, progress: Progressed) -> None:
        if progress.done == progress.total and progress.total:
            self._say(f"{name}: {progress.label.lower()}, {_amount(progress)}")

    @Slot(object)
    def _on_finished(self, comparison: Comparison) -> None:
        self.comparison = comparison
        QCoreApplication.exit()


def find_model(wanted: str) -> ModelEntry | None:
    """`demo`, a folder, or a model in the hub's cache; None for a hub id that is still to be downloaded.

    Raises PlaygroundError for what can only have been meant as a folder and is none.
    """
    if not is_text(wanted):
        raise fail(ErrorCode.MODEL_NOT_FOUND, "The model's name is not valid text.", "Name a folder or a hub id.")
    if wanted == DEMO_ID:
        return demo_entry()
    path = Path(wanted).expanduser()
    if path.is_dir():
        return inspect_folder(path, source=ModelSource.FOLDER, causal_architectures=frozenset())
    if path.is_absolute() or wanted.startswith((".", "~")) or wanted.count("/") > 1 or path.exists():
        raise fail(ErrorCode.MODEL_NOT_FOUND, f"There is no folder {wanted}.", "Give a folder that holds a model.")
    cached = next((entry for entry in scan_cache(frozenset()) if entry.id == wanted), None)
    interrupted = cached is not None and cached.problem is not None and not cached.complete
    return None if interrupted else cached


def _amount(progress: Progressed) -> str:
    return bytes_text(progress.total) if progress.unit == "bytes" else f"{progress.total} {progress.unit}"
