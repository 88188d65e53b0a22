"""Whether another model fits into memory beside those that are kept there."""

from collections.abc import Sequence

from qplayground.core.precision import Precision
from qplayground.runtime.available import available_memory
from qplayground.runtime.gpus import list_gpus

_RUNTIME_BYTES = 500_000_000
_QUANTIZED_BYTES = 1.5
"""A parameter, at most: quantized ones take a byte or half of one, embeddings and the rest two."""
_MARGIN = 1.2
"""For what a load needs beside the weights. An engine that is ended for want of room costs one more load; one that is
kept without room costs the run, so the guess is a high one."""


def has_room_for(parameters: int | None, precision: Precision, device: str, kept: Sequence[str]) -> bool:
    """Guess from the number of parameters whether that precision can be loaded while `kept` engines keep theirs.

    Weights are read and quantized one after another, so they count as they are held. A model of unknown size has room
    beside nothing.
    """
    return not kept or (parameters is not None and _fits([_needed_bytes(parameters, precision)], device))


def has_room_for_all(parameters: int | None, precisions: Sequence[Precision], device: str) -> bool:
    """Guess the same of all of them at once. A model of unknown size is given a try."""
    return parameters is None or _fits([_needed_bytes(parameters, precision) for precision in precisions], device)


def _needed_bytes(parameters: int, precision: Precision) -> float:
    a_parameter = _QUANTIZED_BYTES if precision.is_quantized else precision.dtype.itemsize
    if precision.is_quantized and precision.dtype.itemsize > _QUANTIZED_BYTES + 1:
        a_parameter = precision.dtype.itemsize / 2 + 1
    return parameters * a_parameter * _MARGIN


def _fits(needed: Sequence[float], device: str) -> bool:
    gpus = [] if device == "cpu" else list_gpus()
    if gpus and sum(needed) > max(gpu.free_bytes for gpu in gpus):
        return False
    return len(needed) * _RUNTIME_BYTES + (0 if gpus else sum(needed)) < available_memory().available_bytes
