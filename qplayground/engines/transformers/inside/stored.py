"""A weight that was quantized before it was saved: bitsandbytes' codes and scales as the checkpoint has them."""

from typing import Any

import bitsandbytes.functional as bnb
import torch
from bitsandbytes.functional import QuantState
from torch import nn
from transformers.pytorch_utils import Conv1D

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.inside import Knobs, Method
from qplayground.engines.transformers.inside.quantized import BlockScales, QuantizedValues
from qplayground.engines.transformers.inside.quantizers import FourBit, RowInt8
from qplayground.engines.transformers.inside.source import FLOATING, Source, StoredTensor

_BITSANDBYTES = "bitsandbytes"
_DTYPES = {getattr(torch, dtype): dtype for dtype in Dtype}
_SCB = "SCB"
_AGAIN = "Download the model again, or choose another layer."


def method_name(source: Source) -> str:
    """What a checkpoint was quantized by, for a person; empty for an original."""
    if source.quantized_by != _BITSANDBYTES:
        return source.quantized_by.upper() if source.quantized_by.isalnum() else source.quantized_by
    kinds = [
        kind.upper()
        for kind in ("nf4", "fp4")
        if any(name.endswith(f"bitsandbytes__{kind}") for name in source.tensors)
    ]
    if any(name.endswith(f".{_SCB}") for name in source.tensors):
        kinds.append("INT8")
    return f"bitsandbytes {' and '.join(kinds)}".strip()


def is_stored_quantized(source: Source, module: str) -> bool:
    """Whether that module's weight is codes; others of a quantized checkpoint are left as they were."""
    if not source.quantized_by:
        return False
    below = source.below(module)
    weight = below.get("weight")
    if weight is None:  # qweight, weight_packed, …
        return bool(below) and isinstance(source.module(module), (nn.Linear, Conv1D))
    return weight.dtype not in FLOATING or _SCB in below or any(name.startswith("weight.") for name in below)


def read_stored(source: Source, module: str) -> tuple[QuantizedValues, int]:
    """Codes and scales of that module, and all their bytes in the checkpoint.

    Raises PlaygroundError: UNSUPPORTED for what others than bitsandbytes made, BROKEN_WEIGHTS where the parts do not
    belong together.
    """
    source.module(module)
    below = source.below(module)
    if source.quantized_by != _BITSANDBYTES:
        raise fail(
            ErrorCode.ALREADY_QUANTIZED,
            f"The weight of {module} was quantized before it was saved ({method_name(source)}), and its codes cannot "
            "be read here: only bitsandbytes' can.",
            "Choose a layer that was left alone, or the original model.",
        )
    num_bytes = sum(held.num_bytes for name, held in below.items() if name.startswith("weight") or name == _SCB)
    try:
        if _SCB in below:
            return _int8(source, below), num_bytes
        return _four_bit(below), num_bytes
    except PlaygroundError:
        raise
    except Exception as error:  # whatever bitsandbytes meets in parts that are not what it wrote
        raise _broken(module, f"{type(error).__name__}: {error}") from error


def _four_bit(below: dict[str, StoredTensor]) -> QuantizedValues:
    parts: dict[str, Any] = {name: held.read().clone() for name, held in below.items() if name.startswith("weight.")}
    codes = below["weight"].read().clone().contiguous().view(torch.uint8).view(-1)
    state = QuantState.from_dict(parts, torch.device("cpu"))
    rows, columns = state.shape
    count = rows * columns
    blocks = -(-count // state.blocksize)
    _check(min(rows, columns) > 0 and state.dtype in _DTYPES, f"{state.shape}, {state.dtype}")
    _check(codes.numel() >= -(-count // 2), f"{codes.numel():,} bytes of codes for {count:,} weights")
    _check(state.absmax.numel() == blocks, f"{state.absmax.numel():,} scales for {blocks:,} blocks")
    knobs = Knobs(
        method=Method(state.quant_type),
        block_size=state.blocksize,
        double_quant=state.nested,
        dtype=_DTYPES[state.dtype],
    )
    method = FourBit(knobs)
    _check(torch.equal(state.code, method.levels), f"levels {state.code.tolist()}")
    return QuantizedValues(method, rows, columns, codes[: -(-count // 2)], _scales(state))


def _scales(state: QuantState) -> BlockScales:
    if not state.nested:
        absmax = state.absmax.float()
        return BlockScales(absmax, absmax)
    nested = state.state2
    blocks = -(-state.absmax.numel() // nested.blocksize)
    _check(nested.absmax.numel() == blocks and nested.code.numel() == 256, f"{nested.absmax.numel():,} nested scales")
    used = bnb.dequantize_blockwise(state.absmax, nested)
    used += state.offset
    return BlockScales(used, used, state.absmax, nested)


def _int8(source: Source, below: dict[str, StoredTensor]) -> QuantizedValues:
    codes = below["weight"].read().clone()
    absmax = below[_SCB].read().clone().float().view(-1)
    rows, columns = codes.shape
    _check(codes.dtype is torch.int8 and absmax.numel() == rows and min(rows, columns) > 0, f"{codes.shape}")
    dtype = _DTYPES.get(source.shapes.config.dtype, Dtype.FLOAT16)
    method = RowInt8(Knobs(method=Method.INT8, block_size=None, dtype=dtype), columns)
    return QuantizedValues(method, rows, columns, codes.view(-1), BlockScales(absmax, absmax))


def _check(good: bool, found: str) -> None:
    if not good:
        raise ValueError(found)


def _broken(module: str, detail: str) -> PlaygroundError:
    message = f"The codes and scales of {module} do not belong together."
    return fail(ErrorCode.BROKEN_WEIGHTS, message, _AGAIN, detail)
