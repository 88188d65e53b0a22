"""Tiny models and loads of them, made once a session and shared."""

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
    """As an engine has them: no warnings on standard error, and progress bars on, since progress hangs on them."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.enable_progress_bar()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """Gives the folder of one of tiny.ARCHITECTURES. Only to be read: copy it to change it."""
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
    """Makes bitsandbytes compute as on another processor: `avx512` or `avx512_bf16`; any other name is this one."""
    others = {"avx512": processors.use_avx512, "avx512_bf16": processors.use_avx512_bf16}

    def use(name: str) -> None:
        if name in others:
            others[name](monkeypatch)

    yield use
    kernels.tried.cache_clear()  # what the other one answered


class RecordingChannel(Channel):
    """A channel without a pipe, which keeps what an engine says. Asked `cancel_after` times, it says to stop."""

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
    """What a new engine answers to those commands, in this process."""
    channel = RecordingChannel(cancel_after)
    engine = host.Engine(channel)
    for command in commands:
        engine.carry_out(command)
    return channel.sent


def tokens_of(events: list[Event]) -> list[Token]:
    """The tokens in what an engine said."""
    return [token for event in events if isinstance(event, TokensGenerated) for token in event.tokens]
