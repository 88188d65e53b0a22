"""Looking inside a large layer: how soon it is there, a knob's effect, its pictures, and the memory that it takes."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qplayground.core.inside import Knobs, Method, Picture
from qplayground.core.messages.commands import Command
from qplayground.core.messages.events import Event, Failed, Hello
from qplayground.core.messages.inside import (
    MatrixQuantized,
    ModelOutlined,
    OpenMatrix,
    OutlineModel,
    ReadTile,
    Requantize,
    TileRead,
)
from qplayground.core.precision import READY_PRECISIONS
from qplayground.runtime.launcher import Launcher
from qplayground.runtime.process import ChildProcess
from tests.benchmarks.figures import Figure, median_of

SQUARE = "model.layers.0.self_attn.o_proj"
WIDE = "model.layers.0.mlp.gate_proj"
SMALL = "model.embed_tokens"
_ROUNDS = 5
_MB = 1_000_000
_OPENED = (Knobs(), Knobs(method=Method.FP4, double_quant=True), Knobs(method=Method.INT8))
_BLOCKS = (64, 4096, None)


def measure() -> list[Figure]:
    """Seconds and milliseconds as the window sees them, through the pipe; bytes beyond those of an engine that has a
    small layer open.
    """
    from tests.benchmarks.random_model import make_wide  # torch

    with tempfile.TemporaryDirectory() as folder:
        path = make_wide(Path(folder) / "wide")
        launcher = Launcher()
        with launcher.engine() as engine:
            figures = list(_timed(_Asked(engine), path))
        launcher.close()
        command = [sys.executable, "-m", "tests.benchmarks.inside_memory", str(path), SMALL, SQUARE]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    memory = json.loads(done.stdout.splitlines()[-1])
    limit = 6 * memory["stored"] / _MB
    name = "a 4096 × 4096 layer open, all knobs tried: memory at its peak, beyond the empty engine"
    bare = [
        median_of(f"bitsandbytes.functional.quantize_4bit by itself, the same weight, {kind}", samples, "s")
        for kind, samples in memory["bare_s"].items()
    ]
    return [*figures, *bare, Figure(name, memory["grown"] / _MB, "MB", at_most=limit)]


def knobs_to_try() -> list[Knobs]:
    """Every method with block sizes from the smallest to the whole tensor, with and without double quantization."""
    every = [
        Knobs(method=method, block_size=block, double_quant=double).checked()
        for method in Method
        for block in _BLOCKS
        for double in (False, True)
    ]
    return list(dict.fromkeys(every))


def _timed(asked: "_Asked", path: Path) -> Iterator[Figure]:
    asked(OutlineModel(id=1, path=str(path), precisions=READY_PRECISIONS), ModelOutlined)
    asked(OpenMatrix(id=1, path=str(path), module=SMALL, knobs=Knobs()), MatrixQuantized)
    for knobs in _OPENED:
        opened = []
        for _ in range(_ROUNDS):
            command = OpenMatrix(id=1, path=str(path), module=SQUARE, knobs=knobs)
            opened.append(asked(command, MatrixQuantized))
        yield median_of(f"a 4096 × 4096 layer chosen until shown, {knobs.label}", opened, "s", at_most=0.5)
    for method in Method:
        slowest, label = [0.0], ""
        for knobs in (each for each in knobs_to_try() if each.method is method):
            samples = [asked(Requantize(id=1, knobs=knobs), MatrixQuantized) for _ in range(_ROUNDS)]
            if statistics.median(samples) > statistics.median(slowest):
                slowest, label = samples, knobs.label
        yield median_of(f"its slowest knob of {method.label} ({label}) until shown", slowest, "s", at_most=0.3)
    asked(OpenMatrix(id=1, path=str(path), module=WIDE, knobs=Knobs()), MatrixQuantized)
    for picture in Picture:
        whole = ReadTile(
            id=1, picture=picture, first_row=0, rows=11008, first_column=0, columns=4096, height=1000, width=700
        )
        samples = [1000 * asked(whole, TileRead) for _ in range(_ROUNDS)]
        yield median_of(f"11008 × 4096 in 1000 × 700 pixels, {picture}", samples, "ms")
        part = ReadTile(
            id=1, picture=picture, first_row=5000, rows=1000, first_column=1000, columns=700, height=1000, width=700
        )
        samples = [1000 * asked(part, TileRead) for _ in range(_ROUNDS)]
        yield median_of(f"1000 × 700 of it, {picture}", samples, "ms")


class _Asked:
    """Seconds from a command to its last answer."""

    def __init__(self, engine: ChildProcess) -> None:
        self._engine = engine
        self._events: Iterator[Event] = engine.events()
        assert any(isinstance(event, Hello) for event in self._events)

    def __call__(self, command: Command, answer: type[Any]) -> float:
        began = time.perf_counter()
        self._engine.send(command)
        for event in self._events:
            if isinstance(event, answer):
                return time.perf_counter() - began
            assert not isinstance(event, Failed), event
        raise RuntimeError(f"the engine ended: {self._engine.outcome}")
