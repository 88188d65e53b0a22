"""Inside on a large layer: time until it is shown, time of a changed parameter, its pictures, its memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qplayground.core.inside import Picture, QuantizationParams
from qplayground.core.messages.commands import Command
from qplayground.core.messages.events import Event, Failed, Hello
from qplayground.core.messages.inside import (
    MatrixOpened,
    MatrixQuantized,
    ModelOutlined,
    OpenMatrix,
    OutlineModel,
    QuantizeMatrix,
    ReadTile,
    TileRead,
)
from qplayground.core.precision import READY_PRECISIONS
from qplayground.core.quantizers.registry import METHODS
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.processes.process import ChildProcess
from tests.benchmarks.display import display
from tests.benchmarks.figures import Figure, median_of

SQUARE = "model.layers.0.self_attn.o_proj"
WIDE = "model.layers.0.mlp.gate_proj"
SMALL = "model.embed_tokens"
_ROUNDS = 5
_MB = 1_000_000
_BLOCKS = (64, 4096, None)


def measure() -> list[Figure]:
    """Seconds in the window, milliseconds for a tile through the pipe, and memory.

    The memory is what is added to an engine that has a small layer open.
    """
    from tests.benchmarks.random_model import make_wide  # imports torch

    with tempfile.TemporaryDirectory() as folder:
        path = make_wide(Path(folder) / "wide")
        launcher = Launcher()
        with launcher.engine() as engine:
            figures = list(_timed(_Asked(engine), path))
        launcher.close()
        figures += _in_the_window(path, folder)
        command = [sys.executable, "-m", "tests.benchmarks.inside_memory", str(path), SMALL, SQUARE]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    memory = json.loads(done.stdout.splitlines()[-1])
    limit = 6 * memory["stored"] / _MB
    name = "a 4096 × 4096 layer open, all parameters tried: memory at its peak, beyond the empty engine"
    bare = [
        median_of(f"bitsandbytes.functional.quantize_4bit by itself, the same weight, {kind}", samples, "s")
        for kind, samples in memory["bare_s"].items()
    ]
    return [*figures, *bare, Figure(name, memory["grown"] / _MB, "MB", at_most=limit)]


def params_to_try() -> list[QuantizationParams]:
    """Every method with block sizes from the smallest to the whole tensor, with and without double quantization."""
    every = [
        QuantizationParams(method=method, block_size=block, double_quant=double).checked()
        for method in METHODS
        for block in _BLOCKS
        for double in (False, True)
    ]
    return list(dict.fromkeys(every))


def _timed(asked: "_Asked", path: Path) -> Iterator[Figure]:
    asked(OutlineModel(id=1, path=str(path), precisions=READY_PRECISIONS), ModelOutlined)
    asked(OpenMatrix(id=1, path=str(path), module=WIDE), MatrixOpened)
    asked(QuantizeMatrix(id=1, params=QuantizationParams()), MatrixQuantized)
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


def _in_the_window(path: Path, config: str) -> Iterator[Figure]:
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.inside_window",
        str(path),
        SMALL,
        SQUARE,
        f"{config}/preferences.json",
    ]
    with display() as screen:
        environment = {**os.environ, **screen, "QPLAYGROUND_CONFIG": config}
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=1200)
    found = json.loads(done.stdout.splitlines()[-1])
    for label, times in found["opened"].items():
        name = f"a 4096 × 4096 layer chosen ({label}) until its picture is drawn"
        yield median_of(name, [picture for picture, _ in times], "s", at_most=0.5)
        yield median_of("and its levels, scales and figures", [levels for _, levels in times], "s")
    for method, (label, samples) in found["slowest"].items():
        yield median_of(
            f"slowest parameter of {method} ({label}) until its figures are drawn", samples, "s", at_most=0.3
        )
    for label, samples in found["pictured"].items():
        yield median_of(f"{label} until the picture of its codes is drawn, too", samples, "s")


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
