"""The models on this machine: owner of the picker's list and of the jobs that add to it."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from PySide6.QtCore import QObject, Signal, Slot

from qplayground.catalog.cache import scan_cache
from qplayground.catalog.demo import DEMO_ID, HUB_ID, DemoOrigin, demo_entry, demo_folder, demo_sources
from qplayground.catalog.inspect import inspect_folder
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.messages.commands import Download, FetchOutline, PrepareDemo
from qplayground.core.model import ModelEntry, ModelSource, ModelTypes
from qplayground.core.system.temporary import owned_prefix
from qplayground.runtime.models.jobs import Job
from qplayground.runtime.processes.background import Background
from qplayground.runtime.processes.launcher import Launcher

PREPARE_TARGET = "qplayground.engines.transformers.prepare"
DOWNLOAD_TARGET = "qplayground.catalog.download"
OUTLINE_TARGET = "qplayground.catalog.outline"
_CLOSE_WAIT_MS = 2000


def list_models(model_types: ModelTypes | None, folders: tuple[str, ...] = ()) -> list[ModelEntry]:
    """The demo model, the hub's cache and the folders that the user opened, in that order. Reads headers only."""
    opened = [inspect_folder(Path(folder), source=ModelSource.FOLDER, model_types=model_types) for folder in folders]
    return [demo_entry(model_types=model_types), *scan_cache(model_types), *opened]


class Library(QObject):
    """The list of models, and the jobs that add to it.

    Signals: `entries_changed`; `folder_opened(ModelEntry)` for an inspected folder; `job_started(Job)`,
    `job_ended(Job)`, `job_failed(Job, ErrorInfo)`; `model_added(ModelEntry)` when a job has made a model.
    """

    entries_changed = Signal()
    folder_opened = Signal(object)
    job_started = Signal(object)
    job_ended = Signal(object)
    job_failed = Signal(object, object)
    model_added = Signal(object)

    def __init__(self, launcher: Launcher, folders: tuple[str, ...] = (), parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._launcher = launcher
        self._folders = list(folders)
        self._entries: list[ModelEntry] = []
        self._model_types: ModelTypes | None = None
        self._scan: Background | None = None
        self._scan_again = False
        self._job: Job | None = None
        self._job_makes_demo = False
        self._outlines: dict[str, ModelEntry] = {}
        self._scratch: TemporaryDirectory[str] | None = None
        self._closed = False

    @property
    def entries(self) -> list[ModelEntry]:
        """The models found by the last scan, and those added since."""
        return list(self._entries)

    @property
    def job(self) -> Job | None:
        """The running job, or None."""
        return self._job

    @property
    def is_preparing(self) -> bool:
        """Whether the demo model is being prepared, which uses all processors."""
        return self._job is not None and self._job_makes_demo

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that the user opened, oldest first."""
        return tuple(self._folders)

    @property
    def model_types(self) -> ModelTypes | None:
        """What transformers can load, or None until an engine has reported it."""
        return self._model_types

    def set_model_types(self, types: ModelTypes | None) -> None:
        """Set what transformers can load, and scan again."""
        self._model_types = types
        self.refresh()

    def refresh(self) -> None:
        """Scan for models; `entries_changed` follows."""
        if self._closed:
            return
        if self._scan is not None:
            self._scan_again = True
            return
        types, folders = self._model_types, tuple(self._folders)
        self._scan = Background(lambda: list_models(types, folders), self)
        self._scan.done.connect(self._on_found)
        self._scan.finished.connect(self._on_scan_finished)
        self._scan.start()

    def open_folder(self, folder: str) -> None:
        """Inspect a folder; `folder_opened` follows. If the model is usable or can be inspected, so does
        `entries_changed`, first.
        """
        types = self._model_types
        look = Background(lambda: inspect_folder(Path(folder), source=ModelSource.FOLDER, model_types=types), self)
        look.done.connect(self._on_inspected)
        look.finished.connect(look.deleteLater)
        look.start()

    def prepare_demo(self) -> None:
        """Make the demo model in the background, from the best source available."""
        source = demo_sources()[0]
        if source.origin is DemoOrigin.PREPARED:  # by another process, meanwhile
            self._on_job_succeeded(demo_entry(model_types=self._model_types))
        elif source.origin is DemoOrigin.WHEEL and source.path is not None:
            command = PrepareDemo(id=1, gguf_path=source.path, target=str(demo_folder()))
            job = Job("Preparing the demo model", lambda: self._launcher.engine_job(PREPARE_TARGET), command, self)
            self._start(job, makes_demo=True)
        else:
            self.download(HUB_ID, makes_demo=True)

    def download(self, repo_id: str, *, makes_demo: bool = False) -> None:
        """Download a model from the hub in the background."""
        command = Download(id=1, repo_id=repo_id, model_types=self._model_types)
        job = Job(f"Downloading {repo_id}", lambda: self._launcher.job(DOWNLOAD_TARGET), command, self)
        self._start(job, makes_demo=makes_demo)

    def look_up(self, repo_id: str) -> None:
        """Fetch only what is needed to estimate a hub model's sizes. It is kept until `close`."""
        here = next((known for known in self._entries if known.id == repo_id and known.usable), None)
        if here is not None:
            self.model_added.emit(here)
            return
        if self._scratch is None:
            self._scratch = TemporaryDirectory(prefix=owned_prefix())
        target = Path(self._scratch.name, hashlib.sha256(repo_id.encode()).hexdigest())
        target.mkdir(exist_ok=True)
        command = FetchOutline(id=1, repo_id=repo_id, target=str(target), model_types=self._model_types)
        title = f"Reading the headers of {repo_id}"
        self._start(Job(title, lambda: self._launcher.job(OUTLINE_TARGET), command, self))

    def cancel_job(self) -> None:
        """Cancel the running job."""
        if self._job is not None:
            self._job.cancel()

    def close(self) -> None:
        """End the job and the scans; nothing starts afterwards."""
        self._closed = True
        if self._job is not None:
            self._job.close(_CLOSE_WAIT_MS)
        for scan in self.findChildren(Background):
            scan.wait(_CLOSE_WAIT_MS)
        if self._scratch is not None:
            self._scratch.cleanup()

    def _start(self, job: Job, *, makes_demo: bool = False) -> None:
        if self._closed:
            return
        if self._job is not None:
            error = ErrorInfo(ErrorCode.UNSUPPORTED, f"{self._job.title} is still going on.", "Wait, or cancel it.")
            self.job_failed.emit(job, error)
            return
        self._job, self._job_makes_demo = job, makes_demo
        job.succeeded.connect(self._on_job_succeeded)
        job.failed.connect(self._on_job_failed)
        job.finished.connect(self._on_job_finished)
        self.job_started.emit(job)
        job.start()

    @Slot(object)
    def _on_job_succeeded(self, entry: ModelEntry) -> None:
        if entry.source is ModelSource.HUB:
            self._outlines[entry.id] = entry
        else:
            self._outlines.pop(entry.id, None)
        self._entries = [entry if known.id == entry.id else known for known in self._entries]
        if all(known.id != entry.id for known in self._entries):
            self._entries.append(entry)
        self.entries_changed.emit()
        self.model_added.emit(entry)

    @Slot(object)
    def _on_job_failed(self, error: ErrorInfo) -> None:
        job = self._job
        self._entries = [
            msgspec.structs.replace(known, problem=error)
            if self._job_makes_demo and known.id == DEMO_ID and not known.complete
            else known
            for known in self._entries
        ]
        self.entries_changed.emit()
        self.job_failed.emit(job, error)

    @Slot()
    def _on_job_finished(self) -> None:
        job, self._job = self._job, None
        self.job_ended.emit(job)
        if job is not None:
            job.deleteLater()
        if self._job_makes_demo:
            self.refresh()  # the cache also lists the hub's copy under its own name

    @Slot(object)
    def _on_inspected(self, entry: ModelEntry | Exception) -> None:
        if isinstance(entry, Exception):
            return
        if entry.usable or entry.inside_path is not None:
            if entry.id not in self._folders:
                self._folders.append(entry.id)
            self._entries = [*(known for known in self._entries if known.id != entry.id), entry]
            self.entries_changed.emit()
        self.folder_opened.emit(entry)

    @Slot(object)
    def _on_found(self, models: list[ModelEntry] | Exception) -> None:
        entries = [] if isinstance(models, Exception) else models  # the window must stop waiting in any case
        found = {entry.id for entry in entries}
        opened_meanwhile = [known for known in self._entries if known.id in self._folders and known.id not in found]
        usable = {entry.id for entry in entries if entry.usable}
        self._outlines = {name: outline for name, outline in self._outlines.items() if name not in usable}
        others = [entry for entry in entries if entry.id not in self._outlines]  # drops e.g. an interrupted download
        self._entries = [*others, *opened_meanwhile, *self._outlines.values()]
        self.entries_changed.emit()

    @Slot()
    def _on_scan_finished(self) -> None:
        if self._scan is not None:
            self._scan.deleteLater()
        self._scan = None
        if self._scan_again:
            self._scan_again = False
            self.refresh()
