"""Reads a weight that was quantized before it was saved: its codes and scales as the checkpoint has them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.engines.transformers.inside.quantized import QuantizedValues
from qplayground.engines.transformers.inside.source import FLOATING, Source
from qplayground.engines.transformers.quantizers.base import Backend
from qplayground.engines.transformers.quantizers.registry import BACKENDS

_DTYPES = {getattr(torch, dtype): dtype for dtype in Dtype}
_READABLE = tuple(dict.fromkeys(family.checkpoint for family in BACKENDS.values() if family.checkpoint))
_AGAIN = "Download the model again, or choose another layer."


def method_name(source: Source) -> str:
    """How a checkpoint was quantized, for display; empty for an original."""
    if source.quantized_by not in _READABLE:
        return source.quantized_by.upper() if source.quantized_by.isalnum() else source.quantized_by
    signs = (family.stored_as(name) for family in _families(source) for name in source.tensors)
    kinds = dict.fromkeys(sign.upper() for sign in signs if sign)
    return f"{source.quantized_by} {' and '.join(kinds)}".strip()


def is_stored_quantized(source: Source, module: str) -> bool:
    """Whether that module's weight is stored as codes. A quantized checkpoint leaves other weights as they were."""
    if not source.quantized_by:
        return False
    below = source.below(module)
    weight = below.get("weight")
    if weight is None:  # qweight, weight_packed, …
        return bool(below) and isinstance(source.module(module), (nn.Linear, Conv1D))
    has_parts = any(name.startswith("weight.") for name in below)
    return weight.dtype not in FLOATING or has_parts or _family(source, below) is not None


def read_stored(source: Source, module: str) -> tuple[QuantizedValues, int]:
    """Codes and scales of that module, and all their bytes in the checkpoint.

    Raises PlaygroundError: ALREADY_QUANTIZED for what no family can read, BROKEN_WEIGHTS where the parts do not belong
    together.
    """
    source.module(module)
    below = source.below(module)
    if source.quantized_by not in _READABLE:
        raise fail(
            ErrorCode.ALREADY_QUANTIZED,
            f"The weight of {module} was quantized before it was saved ({method_name(source)}), and its codes cannot "
            f"be read here: only those of {' and '.join(_READABLE)} can.",
            "Choose a layer that was left alone, or the original model.",
        )
    family = _family(source, below)
    if family is None:
        raise _broken(module, f"parts: {', '.join(below)}")
    held = {name: part for name, part in below.items() if name.startswith("weight") or family.stored_as(name)}
    try:
        parts = {name: part.read().clone() for name, part in held.items()}
        made = QuantizedValues(*family.read(parts, _DTYPES.get(source.shapes.config.dtype)))
    except PlaygroundError:
        raise
    except Exception as error:  # a library can raise anything for parts that it did not write
        raise _broken(module, f"{type(error).__name__}: {error}") from error
    return made, sum(part.num_bytes for part in held.values())


def _families(source: Source) -> list[type[Backend[Any]]]:
    return [family for family in BACKENDS.values() if family.checkpoint and family.checkpoint == source.quantized_by]


def _family(source: Source, names: Iterable[str]) -> type[Backend[Any]] | None:
    """The family that one of these names is a sign of."""
    return next((family for family in _families(source) if any(map(family.stored_as, names))), None)


def _broken(module: str, detail: str) -> PlaygroundError:
    message = f"The codes and scales of {module} do not belong together."
    return fail(ErrorCode.BROKEN_WEIGHTS, message, _AGAIN, detail)
