"""A session over the scripted engine, and the requests for it."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import Comparison, Run, RunState
from qplayground.core.errors import ErrorInfo
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.memory.process_memory import MemorySample
from qplayground.core.messages.events import PhaseStarted
from qplayground.core.model import ModelEntry, ModelSource
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.runtime.comparison.request import ComparisonRequest
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.processes.launcher import Launcher
from tests import conftest
from tests.fakes import engine as fake

FAKE = "tests.fakes.engine"


FOUR = ("fp32", "bf16", "int8", "nf4")


MODEL = ModelEntry(
    id="demo",
    source=ModelSource.DEMO,
    path="/models/demo",
    architecture="LlamaForCausalLM",
    parameters=fake.PARAMETERS,
    complete=True,
    provenance="made up",
)


def recipes(names: Sequence[str]) -> list[Precision]:
    ready = {precision.name: precision for precision in READY_PRECISIONS}
    return [ready[name] for name in names]


def request(prompt: str, tokens: int = 8) -> GenerationRequest:
    return GenerationRequest(prompt=prompt, settings=GenerationSettings(max_new_tokens=tokens))


def wanted(names: Sequence[str], prompt: str, tokens: int = 8, **how: Any) -> ComparisonRequest:
    return ComparisonRequest(precisions=tuple(recipes(names)), request=request(prompt, tokens), **how)


def engines() -> list[int]:
    """The process ids of live engines."""
    pids = []
    for process in conftest.running_engines():
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                pids.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return pids


class Stage:
    """A session, its signals, and how many engines were alive at each change of a run."""

    def __init__(self, qtbot: QtBot, launcher: Launcher) -> None:
        self._qtbot = qtbot
        self._launcher = launcher
        self.session = Session(launcher)
        self.said: list[tuple[str, ...]] = []
        self.states: list[tuple[str, RunState]] = []
        self.samples: list[tuple[str, MemorySample]] = []
        self.log: list[str] = []
        self.most_engines = 0
        session = self.session
        session.comparison_started.connect(lambda comparison: self.said.append(("started",)))
        session.comparison_finished.connect(lambda comparison: self.said.append(("finished",)))
        session.run_changed.connect(self._on_run_changed)
        session.tokens_added.connect(
            lambda name, tokens: self.said.extend(("text", name, token.text) for token in tokens)
        )
        session.phase_started.connect(self._on_phase_started)
        session.progressed.connect(lambda name, event: self.said.append(("progress", name, event.label)))
        session.memory_sampled.connect(lambda name, samples: self.samples.extend((name, sample) for sample in samples))
        session.log_added.connect(self.log.append)

    def _on_run_changed(self, name: str) -> None:
        state = self.run(name).state
        self.states.append((name, state))
        self.most_engines = max(self.most_engines, len(self.engines()))

    def _on_phase_started(self, name: str, event: PhaseStarted) -> None:
        self.said.append(("phase", name, event.phase))

    @property
    def comparison(self) -> Comparison:
        assert self.session.comparison is not None
        return self.session.comparison

    def run(self, name: str) -> Run:
        return self.comparison.run(name)

    def outcomes(self) -> dict[str, RunState]:
        return {run.id: run.state for run in self.comparison.runs}

    def texts(self, name: str) -> str:
        return "".join(said[2] for said in self.said if said[:2] == ("text", name))

    def phases(self, name: str) -> list[str]:
        return [said[2] for said in self.said if said[:2] == ("phase", name)]

    def error(self, name: str) -> ErrorInfo:
        error = self.run(name).error
        assert error is not None
        return error

    def start(self, prompt: str, names: Sequence[str] = FOUR, tokens: int = 8) -> None:
        self.session.compare(MODEL, wanted(names, prompt, tokens))

    def compare(self, prompt: str, names: Sequence[str] = FOUR, tokens: int = 8) -> Comparison:
        """Run a comparison to its end."""
        with self._qtbot.waitSignal(self.session.comparison_finished, timeout=20_000) as finished:
            self.start(prompt, names, tokens)
        assert finished.args == [self.comparison]
        self.check_finished()
        return self.comparison

    def engines(self) -> list[int]:
        """The engines that belong to a run. A spare one for the next comparison does not."""
        spare_pid = self._launcher.spare_pid
        return [pid for pid in engines() if pid != spare_pid]

    def stop(self) -> float:
        """Stop, and return how many seconds it took."""
        started = time.monotonic()
        with self._qtbot.waitSignal(self.session.comparison_finished, timeout=5000):
            self.session.stop()
        took = time.monotonic() - started
        self.check_finished()
        return took

    def check_finished(self) -> None:
        assert not self.session.is_busy
        assert self.comparison.is_finished
        assert self.engines() == []
        assert self.said.count(("finished",)) == self.said.count(("started",))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        self._qtbot.waitUntil(condition, timeout=10_000)


def run(stage: Stage, qtbot: QtBot, prompt: str, *names: str, tokens: int = 8, **how: object) -> Comparison:
    with qtbot.waitSignal(stage.session.comparison_finished, timeout=20_000):
        stage.session.compare(MODEL, wanted(names, prompt, tokens, **how))
    return stage.comparison
