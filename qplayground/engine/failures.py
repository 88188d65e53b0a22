"""What the libraries raise, put into words."""

import errno
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import torch
from safetensors import SafetensorError

from qplayground.core.errors import TRY_SMALLER, ErrorCode, ErrorInfo, PlaygroundError
from qplayground.core.precision import Precision
from qplayground.engine.memory_errors import lack_of_memory
from qplayground.engine.missing import COMPARE_HINT

_SAID_CHARACTERS = 300
_END_CHARACTERS = 100
_DOWNLOAD_AGAIN = "Download the model again."

_PLAIN = "Use bf16, fp16 or fp32 for this model."
_PACKED = (
    "bitsandbytes' 4-bit kernel for this processor needs layers whose outputs are a multiple of 32 and whose inputs "
    "are a multiple of the block size, 64."
)
_PACKING = "_convert_weight_packed_for_cpu"
"""bitsandbytes' function that prepares a layer for that kernel. What it raises is about shapes alone."""
_MODELS = str(Path("transformers", "models"))

_BY_TEXT: tuple[tuple[str, ErrorCode, str, str], ...] = (
    (
        "error while deserializing header",
        ErrorCode.BROKEN_WEIGHTS,
        "A weights file is damaged or cut short.",
        _DOWNLOAD_AGAIN,
    ),
    (
        "n must be divisible by block_n",
        ErrorCode.UNSUPPORTED,
        _PACKED,
        _PLAIN,
    ),
    (
        "ignore_mismatched_sizes",
        ErrorCode.BROKEN_WEIGHTS,
        "Tensors in the weights file have other shapes than the config says.",
        COMPARE_HINT,
    ),
    (
        "probability tensor contains either",
        ErrorCode.NON_FINITE_WEIGHTS,
        "The model's output is not finite in this precision, so nothing can be sampled.",
        "Try bf16 or fp32.",
    ),
    (
        "accelerator device when none is available",
        ErrorCode.BAD_DEVICE,
        "This machine has no such device.",
        "Choose Auto or CPU.",
    ),
    ("torch not compiled with cuda", ErrorCode.BAD_DEVICE, "This torch has no CUDA support.", "Choose Auto or CPU."),
    (
        "does not appear to have a file named",
        ErrorCode.INCOMPLETE_DOWNLOAD,
        "The model folder lacks one of its files.",
        _DOWNLOAD_AGAIN,
    ),
    (
        "no file named model",
        ErrorCode.NO_WEIGHTS,
        "The folder has no safetensors weights.",
        "Choose a copy of the model that has model.safetensors, or shards and their index.",
    ),
)


def explain(error: BaseException, precision: Precision | None = None) -> ErrorInfo:
    """The ErrorInfo of any exception that reached an engine's command loop; `precision` is that of the model."""
    if (cause := lack_of_memory(error)) is not None:  # what came of it is no fault of the files
        return _out_of_memory(cause)
    if isinstance(error, PlaygroundError):
        return error.info
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ErrorInfo(ErrorCode.DISK_FULL, "The disk is full.", "Free some space and try again.", detail)
    text = str(error).lower()
    for part, code, message, hint in _BY_TEXT:
        if part in text:
            return ErrorInfo(code, message, hint, detail)
    frames = list(traceback.walk_tb(error.__traceback__))
    if any(frame.f_code.co_name == _PACKING for frame, _ in frames):
        return ErrorInfo(ErrorCode.UNSUPPORTED, _PACKED, _PLAIN, detail)
    if isinstance(error, SafetensorError):
        return ErrorInfo(ErrorCode.BROKEN_WEIGHTS, "A weights file is damaged.", _DOWNLOAD_AGAIN, detail)
    if isinstance(error, FileNotFoundError):
        return ErrorInfo(ErrorCode.INCOMPLETE_DOWNLOAD, "A file of the model is missing.", _DOWNLOAD_AGAIN, detail)
    if precision is not None and precision.is_quantized and (part := _part_of_model(frames)):
        return ErrorInfo(
            ErrorCode.UNSUPPORTED,
            f"{part}, a part of this model, failed with the layers of {precision.label}: {first_line(error)}",
            _PLAIN,
            detail,
        )
    return ErrorInfo(
        ErrorCode.INTERNAL,
        f"The engine met an error it does not know ({type(error).__name__}).",
        "The detail says more; another precision may still work.",
        detail,
    )


def _part_of_model(frames: Sequence[tuple[FrameType, int]]) -> str:
    """The class of the model's innermost code that was running; empty where none of it was."""
    for frame, _ in reversed(frames):
        if _MODELS in frame.f_code.co_filename and "self" in frame.f_locals:
            return type(frame.f_locals["self"]).__name__
    return ""


def first_line(error: BaseException) -> str:
    """The kind of an exception and its first line that says something, as the end of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)


def shortened(said: str) -> str:
    """A library's words as the end of a sentence; of long ones the beginning and the end."""
    said = " ".join(said.split())
    if len(said) > _SAID_CHARACTERS:
        said = f"{said[: _SAID_CHARACTERS - _END_CHARACTERS]} … {said[-_END_CHARACTERS:]}"
    return said if said.endswith(".") else f"{said}."


def _out_of_memory(error: BaseException) -> ErrorInfo:
    detail = f"{type(error).__name__}: {error}"
    is_gpu = isinstance(error, torch.OutOfMemoryError) or any(name in detail.lower() for name in ("cuda", "cublas"))
    where = "on the GPU" if is_gpu else "in RAM"
    return ErrorInfo(ErrorCode.OUT_OF_MEMORY, f"There was not enough memory {where}.", TRY_SMALLER, detail)
