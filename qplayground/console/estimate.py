"""What precisions of a model will take in memory, without a window."""

import tempfile

from PySide6.QtCore import Slot

from qplayground.console.task import ConsoleTask
from qplayground.core.errors import ErrorCode, fail
from qplayground.core.messages import FetchOutline, MemoryEstimated
from qplayground.core.model import ModelEntry
from qplayground.core.precision import Precision
from qplayground.runtime.jobs import Job
from qplayground.runtime.launcher import Launcher
from qplayground.runtime.library import Library
from qplayground.runtime.planner import Planner
from qplayground.runtime.request import check_device
from qplayground.runtime.session import Session

OUTLINE_TARGET = "qplayground.catalog.outline"
_CLOSE_WAIT_MS = 10_000


class ConsoleEstimate(ConsoleTask):
    """Asks the planner; the answer is then in `answer`."""

    def __init__(self, session: Session, library: Library, planner: Planner, launcher: Launcher) -> None:
        super().__init__(session, library)
        self._planner = planner
        self._launcher = launcher
        self._job: Job | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._precisions: tuple[Precision, ...] = ()
        self._device = "auto"
        self._context_tokens: int | None = None
        self.entry: ModelEntry | None = None
        self.answer: MemoryEstimated | None = None
        planner.changed.connect(self._on_changed)
        planner.failed.connect(self.give_up)

    def run(self, model: str, precisions: tuple[Precision, ...], device: str, context_tokens: int | None) -> None:
        """Run Qt's loop until there is an answer. Raises PlaygroundError for what is wrong with the question."""
        self._precisions, self._device, self._context_tokens = precisions, device, context_tokens
        self.run_task(model, needs_machine=device not in ("auto", "cpu"))

    def check_machine(self) -> None:
        """Refuse a device that is not there."""
        assert self.session.machine is not None
        check_device(self._device, self.session.machine)

    def fetch(self, repo_id: str) -> None:
        """Only config, tokenizer and headers, into a folder that does not stay."""
        assert self.session.machine is not None
        self._scratch = tempfile.TemporaryDirectory(prefix="qplayground-")
        causal = tuple(self.library.causal_architectures)
        command = FetchOutline(id=1, repo_id=repo_id, target=self._scratch.name, causal_architectures=causal)
        job = Job(f"Reading the headers of {repo_id}", lambda: self._launcher.job(OUTLINE_TARGET), command, self)
        job.succeeded.connect(self.on_ready)
        job.failed.connect(self.give_up)
        self._job = job
        self.say(f"{job.title} …")
        job.start()

    def interrupt(self) -> None:
        """End the job too."""
        if self._job is not None:
            self._job.cancel()
        super().interrupt()

    def close(self) -> None:
        """End what is left, and clear up."""
        if self._job is not None:
            self._job.close(_CLOSE_WAIT_MS)
        if self._scratch is not None:
            self._scratch.cleanup()

    def work(self, entry: ModelEntry) -> None:
        """Ask."""
        self.entry = entry
        path = entry.checked_path()
        limit, wanted = entry.context_tokens, self._context_tokens
        if wanted is not None and limit is not None and wanted > limit:
            sentence = f"A context of {wanted:,} tokens is more than the model's, {limit:,}."
            raise fail(ErrorCode.PROMPT_TOO_LONG, sentence, f"Ask for {limit:,} at most.")
        self._planner.ask(path, self._precisions, device=self._device, context_tokens=self._context_tokens)

    @Slot()
    def _on_changed(self) -> None:
        answer = self._planner.answer
        if answer is not None and answer.final:
            self.answer = answer
            self.finish()
