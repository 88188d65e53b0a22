"""The engine processes of a session: one per run, each with its own worker, watched by one sampler."""

from collections.abc import Callable
from functools import partial
from itertools import count

from PySide6.QtCore import QObject, Signal, Slot

from qplayground.core.capabilities import Capability
from qplayground.core.errors import ErrorInfo
from qplayground.core.messages.commands import Cancel, Command
from qplayground.core.messages.events import Event, Hello, RunEvent
from qplayground.runtime.comparison.sampler import Sampler
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.processes.worker import ChildWorker

CLOSE_WAIT_MS = 10_000


class Engines(QObject):
    """Owner of the engines. It holds no policy.

    Signals: `greeted(name, Hello)`; `said(name, RunEvent)`, only answers to the engine's latest command;
    `gone(name, ErrorInfo | None)`, once per engine, after which another of that name may start;
    `memory_sampled(name, list[MemorySample])`.
    """

    greeted = Signal(str, object)
    said = Signal(str, object)
    gone = Signal(str, object)
    memory_sampled = Signal(str, object)

    def __init__(self, launcher: Launcher, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._launcher = launcher
        self._sampler = Sampler(self)
        self._sampler.sampled.connect(self.memory_sampled)
        self._workers: dict[str, ChildWorker] = {}
        self._commands: dict[str, int] = {}
        self._command_ids = count(1)

    def start(self, name: str, kind: str) -> None:
        """Start an engine of that kind for a run; `greeted` or `gone` follows.

        Raises RuntimeError while the run has an engine, KeyError for an unknown kind.
        """
        if name in self._workers:
            raise RuntimeError(f"the engine of {name} has not left yet")
        self._launcher.check_kind(kind)
        self._sampler.start()
        worker = ChildWorker(name, partial(self._launcher.engine, kind), self)
        worker.event_received.connect(self._on_event)
        worker.exited.connect(self._on_exited)
        worker.finished.connect(worker.deleteLater)
        self._workers[name] = worker
        worker.start()

    def submit(self, name: str, make: Callable[[int], Command]) -> None:
        """Send a command, made with the id that its answers will carry. If the engine is gone, `gone` follows."""
        self._commands[name] = command_id = next(self._command_ids)
        self._workers[name].submit(make(command_id))

    def output_tail(self, name: str) -> str:
        """The end of the engine's standard output and error; empty if it is gone."""
        worker = self._workers.get(name)
        return "" if worker is None else worker.output_tail()

    def cancel(self, name: str) -> None:
        """Ask the engine to stop its latest command."""
        self._workers[name].submit(Cancel(self._commands[name]))

    def end(self, name: str) -> None:
        """Kill the engine; `gone` follows."""
        self._workers[name].end()

    def close(self) -> None:
        """End every engine and thread, now."""
        workers = self.findChildren(ChildWorker)  # including those that sent `exited` but still run
        self._workers.clear()
        for worker in workers:
            worker.end()
        for worker in workers:
            worker.wait(CLOSE_WAIT_MS)
        self._sampler.stop()

    @Slot(str, object)
    def _on_event(self, name: str, event: Event) -> None:
        if name not in self._workers:
            return  # closed
        if isinstance(event, Hello):
            if Capability.MEMORY not in event.lacks:
                self._sampler.watch(name, event.pid)
            self.greeted.emit(name, event)
        elif event.command_id == self._commands.get(name) and isinstance(event, RunEvent):  # anything else is late
            self.said.emit(name, event)

    @Slot(str, object)
    def _on_exited(self, name: str, error: ErrorInfo | None) -> None:
        if self._workers.pop(name, None) is not None:
            self._sampler.forget(name)
            self.gone.emit(name, error)
