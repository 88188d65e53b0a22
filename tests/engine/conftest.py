"""Tiny models and loaded ones, made once a session and shared."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import transformers

from qplayground.core.generation import GenerationRequest
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.commands import Command
from qplayground.core.messages.events import Event, TokensGenerated
from qplayground.core.precision import Precision
from qplayground.core.tokens import Token
from qplayground.engines.transformers import host
from qplayground.engines.transformers.loading.load import LoadedModel, load_model
from qplayground.engines.transformers.quantizers import kernels
from tests.engine import processors, tiny

ModelFolder = Callable[[str], Path]
UseProcessor = Callable[[str], None]
LoadShared = Callable[[str, str], LoadedModel]


@pytest.fixture(autouse=True, scope="session")
def quiet_libraries() -> None:
    """As in an engine: no warnings on standard error. Progress bars stay on, because progress reports need them."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.enable_progress_bar()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """Returns the folder of one of tiny.ARCHITECTURES. It is read-only: copy it to change it."""
    root = tmp_path_factory.mktemp("models")

    def folder(family: str) -> Path:
        path = root / family
        return path if path.exists() else tiny.make(path, family)

    return folder


@pytest.fixture(scope="session")
def load_shared(model_folder: ModelFolder) -> LoadShared:
    """Loads a family in a ready precision, once a session."""
    kept: dict[tuple[str, str], LoadedModel] = {}

    def load(family: str, precision: str) -> LoadedModel:
        key = (family, precision)
        if key not in kept:
            kept[key] = load_quietly(model_folder(family), precision)
        return kept[key]

    return load


def load_quietly(folder: Path, recipe: str | Precision = "fp32", asked: GenerationRequest | None = None) -> LoadedModel:
    """Load without listening to phases and progress."""
    return load_model(tiny.load_command(folder, recipe, asked), lambda phase: None, lambda label, done, total: None)


@pytest.fixture
def use_processor(monkeypatch: pytest.MonkeyPatch) -> Iterator[UseProcessor]:
    """Makes bitsandbytes compute as on another processor: `avx512` or `avx512_bf16`. Any other name means this one."""
    others = {"avx512": processors.use_avx512, "avx512_bf16": processors.use_avx512_bf16}

    def use(name: str) -> None:
        if name in others:
            others[name](monkeypatch)

    yield use
    kernels.tried.cache_clear()  # cached results of the other processor


class RecordingChannel(Channel):
    """A channel without a pipe that records an engine's events. After `cancel_after` checks it says to stop."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.sent: list[Event] = []
        self._cancel_after = cancel_after
        self._times_asked = 0

    def send(self, event: Event) -> None:
        self.sent.append(event)

    def is_cancelled(self, command_id: int) -> bool:
        self._times_asked += 1
        return self._cancel_after is not None and self._times_asked > self._cancel_after


def carry_out(*commands: Command, cancel_after: int | None = None) -> list[Event]:
    """The events with which a new engine in this process answers the commands."""
    channel = RecordingChannel(cancel_after)
    engine = host.Engine(channel)
    for command in commands:
        engine.carry_out(command)
    return channel.sent


def tokens_of(events: list[Event]) -> list[Token]:
    """The tokens among an engine's events."""
    return [token for event in events if isinstance(event, TokensGenerated) for token in event.tokens]
