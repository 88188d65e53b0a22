"""Turns exceptions of the libraries into messages for the user."""

import errno
import traceback
from collections.abc import Sequence
from types import FrameType

import torch
from safetensors import SafetensorError

from qplayground.core.dtype import Dtype
from qplayground.core.errors import TRY_SMALLER, ErrorCode, ErrorInfo, PlaygroundError
from qplayground.core.precision import Precision
from qplayground.engines.transformers.failures.memory_errors import lack_of_memory
from qplayground.engines.transformers.failures.missing import COMPARE_HINT
from qplayground.engines.transformers.failures.wording import first_line
from qplayground.engines.transformers.quantizers.registry import BACKENDS

_DOWNLOAD_AGAIN = "Download the model again."

_PLAIN = "Use bf16, fp16 or fp32 for this model."
_OTHER_MODEL = "A newer version of transformers may run it. Until then choose another model."
_MODELS = "transformers.models."

_BY_TEXT: tuple[tuple[str, ErrorCode, str, str], ...] = (
    (
        "error while deserializing header",
        ErrorCode.BROKEN_WEIGHTS,
        "A weights file is damaged or cut short.",
        _DOWNLOAD_AGAIN,
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
    """The ErrorInfo of any exception that reached an engine's command loop. `precision`: the loaded model's."""
    if (cause := lack_of_memory(error)) is not None:  # errors that follow from it are not the files' fault
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
    names = frozenset(frame.f_code.co_name for frame, _ in frames)
    if refusal := next((said for family in BACKENDS.values() if (said := family.refusal(text, names))), ""):
        return ErrorInfo(ErrorCode.UNSUPPORTED, refusal, _PLAIN, detail)
    if isinstance(error, SafetensorError):
        return ErrorInfo(ErrorCode.BROKEN_WEIGHTS, "A weights file is damaged.", _DOWNLOAD_AGAIN, detail)
    if isinstance(error, FileNotFoundError):
        return ErrorInfo(ErrorCode.INCOMPLETE_DOWNLOAD, "A file of the model is missing.", _DOWNLOAD_AGAIN, detail)
    if precision is not None and (part := _part_of_model(frames)):
        return _unsupported(error, precision, part, detail)
    return ErrorInfo(
        ErrorCode.INTERNAL,
        f"The engine met an unknown error ({type(error).__name__}).",
        "The detail says more; another precision may still work.",
        detail,
    )


def _unsupported(error: BaseException, precision: Precision, part: str, detail: str) -> ErrorInfo:
    """For an error raised by a model's own code, or by transformers while running it."""
    if precision.is_quantized:
        message = f"{part}, a part of this model, failed with the layers of {precision.label}: {first_line(error)}"
        return ErrorInfo(ErrorCode.UNSUPPORTED, message, _PLAIN, detail)
    message = f"{part}, a part of this model, failed in {precision.label}: {first_line(error)}"
    hint = _OTHER_MODEL if precision.dtype is Dtype.FLOAT32 else "Use fp32 for this model."
    return ErrorInfo(ErrorCode.UNSUPPORTED, message, hint, detail)


def _part_of_model(frames: Sequence[tuple[FrameType, int]]) -> str:
    """Class name of the innermost part of the model that was running; empty where none was."""
    parts = (type(frame.f_locals.get("self")) for frame, _ in reversed(frames))
    return next((part.__name__ for part in parts if part.__module__.startswith(_MODELS)), "")


def _out_of_memory(error: BaseException) -> ErrorInfo:
    detail = f"{type(error).__name__}: {error}"
    is_gpu = isinstance(error, torch.OutOfMemoryError) or any(name in detail.lower() for name in ("cuda", "cublas"))
    where = "on the GPU" if is_gpu else "in RAM"
    return ErrorInfo(ErrorCode.OUT_OF_MEMORY, f"There was not enough memory {where}.", TRY_SMALLER, detail)
