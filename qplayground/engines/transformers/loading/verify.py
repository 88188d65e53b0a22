"""Refuses a load that only looks like one."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.placement import device_of, main_device, stays_unquantized
from qplayground.core.precision import Precision
from qplayground.engines.transformers.failures.missing import COMPARE_HINT, missing_tensors
from qplayground.engines.transformers.loading.accounting import HeldTensor, held_tensors
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.progress import OnProgress
from qplayground.engines.transformers.quantizers.registry import family_of

_LABEL = "Checking every weight"
_PIECE = 1 << 22


def verify_loaded(
    model: nn.Module, info: dict[str, Any], precision: Precision, placed: Mapping[str, str], expected_quantized: int
) -> int:
    """Check the loaded model against the request. Returns the number of quantized modules.

    Raises PlaygroundError: MISSING_TENSORS (transformers fills them with random numbers), NOT_QUANTIZED, BAD_DEVICE,
    BROKEN_WEIGHTS. Call it before the first forward. There, an incomplete quantized layer would crash, and one of the
    wrong shape would read memory that is not its own.
    """
    missing = sorted(info.get("missing_keys") or [])
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info.get("mismatched_keys") or [])
    if missing or mismatched:
        raise missing_tensors(model, [*missing, *mismatched], sorted(info.get("unexpected_keys") or []))
    quantized = _check_quantized_shapes(model)
    if quantized != expected_quantized:
        raise fail(
            ErrorCode.NOT_QUANTIZED,
            f"{precision.label} should have converted {expected_quantized} linear layers and converted {quantized}.",
            "Pick another precision for this model.",
        )
    elsewhere = [
        f"{held.module}.{held.kind} on {held.device} instead of {home}"
        for held in held_tensors(model)
        if held.device != (home := _home(model, held, placed))
    ]
    if elsewhere:
        raise fail(
            ErrorCode.BAD_DEVICE,
            f"{len(elsewhere)} of the model's tensors are on another device than was asked for: {elsewhere[0]}.",
            "Pick another device.",
            "\n".join(elsewhere[:50]),
        )
    return quantized


def _home(model: nn.Module, held: HeldTensor, placed: Mapping[str, str]) -> str | None:
    """The device that a tensor should be on. Buffers of offloaded modules are where the model computes."""
    device = device_of(held.module, placed)
    is_buffer = held.kind in model.get_submodule(held.module)._buffers
    if is_buffer and device is not None and stays_unquantized(device, placed.values()):
        return main_device(placed.values())
    return device


def _check_quantized_shapes(model: nn.Module) -> int:
    """Count the quantized layers and check their shapes; transformers checks all the others only."""
    count = 0
    for name, module in model.named_modules():
        family = family_of(module)
        if family is None:
            continue
        count += 1
        shape = family.shape(module)
        if shape != (module.out_features, module.in_features):
            raise fail(
                ErrorCode.BROKEN_WEIGHTS,
                f"The weights file has {name} as {shape} where config.json says "
                f"{(module.out_features, module.in_features)}.",
                COMPARE_HINT,
            )
    return count


def verify_finite(model: nn.Module, source: Checkpoint | None, on_progress: OnProgress) -> None:
    """Raise PlaygroundError(NON_FINITE_WEIGHTS) if a weight is NaN or infinite.

    With `source`, the checkpoint's own tensors are checked too, one at a time, because quantizing a NaN hides it.
    """
    for held in held_tensors(model):
        if held.tensor.is_meta:
            continue  # on disk: it is checked there
        _check(f"{held.module}.{held.kind}", held.tensor)
    if source is None:
        return
    done = 0
    for file, names in source.files.items():
        for name in names:
            with safe_open(file, framework="pt") as opened:  # closed each time, so that its pages are released
                for piece in _pieces(opened.get_slice(name)):
                    _check(name, piece)
            done += source.tensor_bytes[name]
            on_progress(_LABEL, done, source.total_bytes)


def _pieces(tensor: Any) -> Iterator[torch.Tensor]:
    """Some rows at a time, because safetensors copies what it returns."""
    shape = tensor.get_shape()
    if not shape:
        yield tensor[...]
        return
    rows = max(1, _PIECE // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield tensor[start : start + rows]


def _check(name: str, tensor: torch.Tensor) -> None:
    """Works in pieces, because torch makes copies of a 16-bit tensor."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return
    for piece in torch.split(tensor.detach().reshape(-1), _PIECE):
        low, high = torch.aminmax(piece)
        if not (torch.isfinite(low) and torch.isfinite(high)):
            raise _non_finite(name)


def _non_finite(name: str) -> PlaygroundError:
    return fail(
        ErrorCode.NON_FINITE_WEIGHTS,
        f"{name} holds values that are not finite in this precision.",
        "The checkpoint is damaged, or its weights overflow: try bf16 or fp32, or download it again.",
    )
