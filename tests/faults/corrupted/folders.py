"""How the program answers for a damaged folder."""

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from qplayground.catalog.inspect import inspect_folder
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.generation import GenerationRequest
from qplayground.core.messages.commands import EstimateMemory, Load
from qplayground.core.messages.events import Event, Failed
from qplayground.core.model import ModelSource
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS
from qplayground.engines.transformers import host
from qplayground.engines.transformers.model.config import model_types
from tests.engine import tiny
from tests.engine.conftest import RecordingChannel

TYPES = model_types()
LISTED_S = 1.0
"""The picker reads every folder anew, so listing must be fast."""
PATIENCE_S = 20
FIRST = "model.embed_tokens.weight"
"""A tensor that each of these models has."""

Damage = Callable[[Path], object]


class Answers(NamedTuple):
    """How the program answers for a folder."""

    listed: ErrorInfo | None
    estimate: Event
    load: Event

    @property
    def code(self) -> ErrorCode | None:
        return self.load.error.code if isinstance(self.load, Failed) else None


class RecordedEngine(host.Engine):
    """An engine in this process. `recorded` has its events."""

    def __init__(self) -> None:
        self.recorded = RecordingChannel()
        super().__init__(self.recorded)


def ask(engine: RecordedEngine, folder: Path, asked: GenerationRequest | None = None) -> Answers:
    """List, estimate and load. Checks that each refusal is a sentence with a hint, and that the folder is unchanged."""
    before = _state(folder)
    began = time.monotonic()
    entry = inspect_folder(folder, source=ModelSource.FOLDER, model_types=TYPES)
    assert time.monotonic() - began < LISTED_S
    msgspec.json.encode(entry)
    answers = Answers(
        entry.problem, _carry_out(engine, _estimate(folder, asked)), _carry_out(engine, _load(folder, asked))
    )
    assert _state(folder) == before
    for event in answers[1:]:
        if isinstance(event, Failed):
            check_sentence(event.error)
    if entry.problem is not None:
        check_sentence(entry.problem)
        assert isinstance(answers.load, Failed)
    return answers


def check_sentence(error: ErrorInfo) -> None:
    assert error.code is not ErrorCode.INTERNAL, error.detail
    assert error.message.endswith(".") and error.hint and "Traceback" not in str(error)
    assert len(str(error)) < 1000


def _state(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {str(path): (stat.st_mode, stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def _carry_out(engine: RecordedEngine, command: EstimateMemory | Load) -> Event:
    engine.recorded.sent.clear()
    engine.carry_out(command)
    return engine.recorded.sent[-1]


def _load(folder: Path, asked: GenerationRequest | None) -> Load:
    return tiny.load_command(folder, asked=asked)


def _estimate(folder: Path, asked: GenerationRequest | None) -> EstimateMemory:
    return EstimateMemory(
        id=1,
        path=str(folder),
        precisions=READY_PRECISIONS[:1] + READY_PRECISIONS[-1:],
        placement=Placement(device="cpu"),
        request=asked or tiny.request(),
    )


def put(name: str, data: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(data)

    return damage


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and weights."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def whole(header: dict[str, Any] | bytes, weights: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + weights
