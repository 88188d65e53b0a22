"""What precisions of a model will take in memory, without a window."""

from PySide6.QtCore import Slot

from qplayground.console.task import ConsoleTask
from qplayground.core.messages.events import MemoryEstimated
from qplayground.core.model import ModelEntry
from qplayground.core.placement import Placement
from qplayground.core.precision import Precision
from qplayground.runtime.clients.planner import Planner
from qplayground.runtime.comparison.request import as_run_on, check_devices, needs_machine
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.models.library import Library


class ConsoleEstimate(ConsoleTask):
    """Asks the planner; the answer is then in `answer`."""

    def __init__(self, session: Session, library: Library, planner: Planner) -> None:
        super().__init__(session, library)
        self._planner = planner
        self._precisions: tuple[Precision, ...] = ()
        self._placement = Placement()
        self._context_tokens: int | None = None
        self.entry: ModelEntry | None = None
        self.answer: MemoryEstimated | None = None
        planner.changed.connect(self._on_changed)
        planner.failed.connect(self.give_up)

    def run(
        self, model: str, precisions: tuple[Precision, ...], placement: Placement, context_tokens: int | None
    ) -> None:
        """Run Qt's loop until there is an answer. Raises PlaygroundError for what is wrong with the question."""
        self._precisions, self._placement, self._context_tokens = precisions, placement, context_tokens
        self.run_task(model, needs_machine=needs_machine(placement, precisions))

    def check_machine(self) -> None:
        """Refuse a device that is not there, and do without a type that its GPU lacks."""
        machine = self.session.machine
        assert machine is not None
        check_devices(self._placement, machine)
        self._precisions = as_run_on(machine, self._placement, self._precisions)

    def fetch(self, repo_id: str) -> None:
        """Only config, tokenizer and headers."""
        self.library.look_up(repo_id)

    def work(self, entry: ModelEntry) -> None:
        """Ask."""
        self.entry = entry
        path = entry.outline_path or entry.checked_path()
        self._planner.ask(path, self._precisions, placement=self._placement, context_tokens=self._context_tokens)

    @Slot()
    def _on_changed(self) -> None:
        answer = self._planner.answer
        if answer is not None and answer.final:
            self.answer = answer
            self.finish()
