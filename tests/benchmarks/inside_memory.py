"""A child of the inside benchmark: how much an engine grows that opens a layer and tries every parameter on it.

Also times bitsandbytes' own call on such a layer.
"""

import json
import sys
import time
from pathlib import Path

import bitsandbytes.functional
import psutil
import torch

from qplayground.core.inside import Picture
from qplayground.core.memory.process_memory import forget_peak, read_process_memory
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.events import Event, Failed
from qplayground.core.messages.inside import MatrixOpened, OpenMatrix, QuantizeMatrix, ReadTile
from qplayground.engines.transformers import host
from qplayground.engines.transformers.machine import allocator
from tests.benchmarks.inside import params_to_try

_KINDS = ("nf4", "fp4")
_ROUNDS = 5


class _Counting(Channel):
    """Records the stored bytes of the opened matrix."""

    def __init__(self) -> None:
        self.stored = 0

    def send(self, event: Event) -> None:
        assert not isinstance(event, Failed), event
        if isinstance(event, MatrixOpened):
            self.stored = event.matrix.stored_bytes

    def is_cancelled(self, command_id: int) -> bool:
        return False


def main(path: str, small: str, large: str) -> None:
    channel = _Counting()
    engine = host.Engine(channel)
    _try_all(engine, Path(path), small)
    allocator.release()
    before = read_process_memory(psutil.Process()).resident_bytes
    forget_peak()
    _try_all(engine, Path(path), large)
    grown = _peak_bytes() - before
    print(json.dumps({"grown": grown, "stored": channel.stored, "bare_s": {kind: _bare(kind) for kind in _KINDS}}))


def _bare(kind: str) -> list[float]:
    """Seconds of each call, on 4096 × 4096 bfloat16 weights."""
    weight = torch.empty(4096, 4096, dtype=torch.bfloat16).normal_(0, 0.02)
    samples = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        bitsandbytes.functional.quantize_4bit(weight, blocksize=64, quant_type=kind)
        samples.append(time.perf_counter() - began)
    return samples


def _peak_bytes() -> int:
    """The peak of this program alone. `getrusage` would include what the process was before exec."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _try_all(engine: host.Engine, path: Path, module: str) -> None:
    engine.carry_out(OpenMatrix(id=1, path=str(path), module=module))
    for params in params_to_try():
        engine.carry_out(QuantizeMatrix(id=1, params=params))
        for picture in Picture:
            engine.carry_out(
                ReadTile(
                    id=1, picture=picture, first_row=0, rows=4096, first_column=0, columns=4096, height=1000, width=700
                )
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
