"""Whether another model fits into memory beside those that are kept there."""

from collections.abc import Sequence

import psutil

from qplayground.core.precision import Precision
from qplayground.runtime.gpus import list_gpus

_RUNTIME_BYTES = 500_000_000
_MARGIN = 1.2
"""For what a load needs beside the weights. An engine that is ended for want of room costs one more load; one that is
kept without room costs the run, so the guess is a high one."""


def has_room_for(parameters: int | None, precision: Precision, device: str, kept: Sequence[str]) -> bool:
    """Guess from the number of parameters whether that precision can be loaded while `kept` engines keep theirs.

    Weights are read and quantized one after another, so they count as they are held: where they are quantized, a byte a
    parameter at most. A model of unknown size has room beside nothing.
    """
    if not kept:
        return True
    if parameters is None:
        return False
    needed = parameters * (1 if precision.is_quantized else precision.dtype.itemsize) * _MARGIN
    gpus = [] if device == "cpu" else list_gpus()
    if gpus and needed > max(gpu.free_bytes for gpu in gpus):
        return False
    available: int = psutil.virtual_memory().available
    return _RUNTIME_BYTES + (0 if gpus else needed) < available
