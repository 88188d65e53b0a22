"""Finding or making the model that a command names, before its real work."""

import difflib
import sys
from pathlib import Path

from msgspec.structs import replace
from PySide6.QtCore import QCoreApplication, QObject, Slot

from qplayground.catalog.cache import scan_cache
from qplayground.catalog.demo import DEMO_ID, demo_entry
from qplayground.catalog.download import check_repo_id
from qplayground.catalog.inspect import inspect_folder
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail
from qplayground.core.messages.events import Hello, Progressed
from qplayground.core.model import ModelEntry, ModelSource
from qplayground.core.text import is_text
from qplayground.core.units import bytes_text
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.models.jobs import Job
from qplayground.runtime.models.library import Library


class ConsoleTask(QObject):
    """Gets the model ready, does `work` with it in Qt's loop, and leaves it. `error` says why nothing came of it."""

    def __init__(self, session: Session, library: Library) -> None:
        super().__init__()
        self.session = session
        self.library = library
        self.error: ErrorInfo | None = None
        self._model = ""
        self._began = False
        self._hub_id: str | None = None
        self._left: ErrorInfo | None = None  # what is wrong with what the cache has of it
        session.machine_known.connect(self._on_machine_known)
        session.machine_unknown.connect(self.give_up)
        library.model_added.connect(self.on_ready)
        library.job_failed.connect(self._on_job_failed)
        library.job_started.connect(self._on_job_started)

    def work(self, entry: ModelEntry) -> None:
        """What is to be done with the model; it ends with `finish` or `give_up`. Raises PlaygroundError."""
        raise NotImplementedError

    def fetch(self, repo_id: str) -> None:
        """Get a model from the hub; `work` follows."""
        self.library.download(repo_id)

    def check_machine(self) -> None:
        """Look at `session.machine` before the work, if it was asked for. Raises PlaygroundError."""

    def run_task(self, model: str, *, needs_machine: bool) -> None:
        """Run Qt's loop until all is done. Raises PlaygroundError for what is wrong with the question."""
        self._model = model
        if needs_machine:
            find_model(model)  # what is wrong with that is said at once
            self.session.probe()  # an engine knows which devices there are, and `_on_machine_known` begins
        else:
            self._begin()
        if self.error is None:
            QCoreApplication.exec()

    def interrupt(self) -> None:
        """Stop what is going on: the job, or the wait for an engine."""
        if self.library.job is not None:
            self.library.cancel_job()
        else:
            self._on_job_cancelled()

    def finish(self) -> None:
        """The work is done."""
        QCoreApplication.exit()

    @Slot(object)
    def give_up(self, error: ErrorInfo) -> None:
        """Nothing came of it."""
        self.error = error
        QCoreApplication.exit()

    def say(self, text: str) -> None:
        """Tell how it goes."""
        print(text, file=sys.stderr, flush=True)

    def _begin(self) -> None:
        entry = find_model(self._model)
        if entry is not None and (entry.usable or entry.problem is not None):
            self._work(entry)
        elif entry is not None:  # the demo model, still to be made
            self.library.prepare_demo()
        else:
            check_repo_id(self._model)
            self._hub_id = self._model
            self._left = _left_in_cache(self._model)
            if self.session.machine is None:
                self.session.probe()  # what transformers can load, an engine knows
            else:
                self.fetch(self._hub_id)

    def _work(self, entry: ModelEntry) -> None:
        self._began = True
        self.work(entry)

    @Slot(object)
    def _on_machine_known(self, hello: Hello) -> None:
        if self._began or not self._model:
            return
        self.library.set_model_types(hello.model_types)
        if self._hub_id is not None:
            self.fetch(self._hub_id)
            return
        try:
            self.check_machine()
            self._begin()
        except PlaygroundError as error:
            self.give_up(error.info)

    @Slot(object)
    def on_ready(self, entry: ModelEntry) -> None:
        """The model is there."""
        try:
            self._work(entry)
        except PlaygroundError as error:
            self.give_up(error.info)

    @Slot(object, object)
    def _on_job_failed(self, _job: Job, error: ErrorInfo) -> None:
        if error.code is ErrorCode.NO_NETWORK and self._hub_id is not None:
            message = _not_here(self._hub_id) if self._left is None else self._left.message
            error = replace(error, message=f"{message} {error.message}")
        self.give_up(error)

    @Slot(object)
    def _on_job_started(self, job: Job) -> None:
        self.say(f"{job.title} …")
        job.progressed.connect(self._on_job_progressed)
        job.cancelled.connect(self._on_job_cancelled)

    @Slot(object)
    def _on_job_progressed(self, progress: Progressed) -> None:
        if progress.done == progress.total:
            self.say(f"  {progress.label.lower()}{f', {amount_text(progress)}' if progress.total else ''}")

    @Slot()
    def _on_job_cancelled(self) -> None:
        self.give_up(ErrorInfo(ErrorCode.DEMO_UNAVAILABLE, "Cancelled.", ""))


def find_model(wanted: str) -> ModelEntry | None:
    """`demo`, a folder, or a model in the hub's cache; None for a hub id that is still to be downloaded.

    Raises PlaygroundError for what can only have been meant as a folder and is none.
    """
    if not is_text(wanted):
        raise fail(ErrorCode.MODEL_NOT_FOUND, "The model's name is not valid text.", "Name a folder or a hub id.")
    if not wanted.strip():
        raise fail(ErrorCode.MODEL_NOT_FOUND, "The model's name is empty.", "Name `demo`, a folder or a hub id.")
    if wanted == DEMO_ID:
        return demo_entry()
    path = Path(wanted).expanduser()
    if path.is_dir():
        return inspect_folder(path, source=ModelSource.FOLDER, model_types=None)
    if path.is_file():
        raise fail(ErrorCode.MODEL_NOT_FOUND, f"{wanted} is a file.", "Give the folder that holds it.")
    if path.is_absolute() or wanted.startswith((".", "~")) or wanted.count("/") > 1 or path.exists():
        raise fail(ErrorCode.MODEL_NOT_FOUND, f"There is no folder {wanted}.", "Give a folder that holds a model.")
    cached = _in_cache(wanted)
    interrupted = cached is not None and cached.problem is not None and not cached.complete
    return None if interrupted else cached


def _not_here(wanted: str) -> str:
    known = [DEMO_ID, *(entry.id for entry in scan_cache(None))]
    close = difflib.get_close_matches(wanted, known, n=1)
    meant = f" Perhaps {close[0]} is meant." if close else ""
    return f"{wanted} is neither a folder nor a model in the Hugging Face cache.{meant}"


def _in_cache(repo_id: str) -> ModelEntry | None:
    return next((entry for entry in scan_cache(None) if entry.id == repo_id), None)


def _left_in_cache(repo_id: str) -> ErrorInfo | None:
    """Why what the cache has of a model is of no use; None where it has nothing."""
    entry = _in_cache(repo_id)
    return None if entry is None else entry.problem


def amount_text(progress: Progressed) -> str:
    """How much there is of something."""
    return bytes_text(progress.total) if progress.unit == "bytes" else f"{progress.total} {progress.unit}"
