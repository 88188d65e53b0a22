"""Other processors, as far as bitsandbytes shows them: its kernels' rules in plain torch.

From bitsandbytes 0.50.2's sources, checked by hand on such processors (blocks of 64, row length n):

- AVX-512: if n is a multiple of 16, the scale of a value is looked up at row · (n // 64) + column // 64. That is
  another block's scale unless n is a multiple of 64.
- AVX512-BF16: the first forward repacks a layer, in Python. It raises unless n is a multiple of 64 and the outputs a
  multiple of 32. The kernel then computes in bfloat16 with bfloat16 scales.
"""

from typing import Any

import bitsandbytes
import pytest
import torch
from torch.nn import functional

from qplayground.engines.transformers.quantizers import bitsandbytes_4bit, bitsandbytes_int8, kernels

_LANES = 16
_TILE = 32


def use_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dequantize as on a processor with AVX-512 only."""
    kernels.tried.cache_clear()  # cached results of this processor
    _set_bf16(monkeypatch, False)
    monkeypatch.setattr(bitsandbytes.functional, "dequantize_4bit", _dequantize_with_avx512)
    monkeypatch.setattr(bitsandbytes.autograd._functions, "matmul_4bit", _matmul)
    monkeypatch.setattr(bitsandbytes, "matmul_4bit", _matmul)


def use_avx512_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repack and compute as with AVX512-BF16."""
    use_avx512(monkeypatch)
    _set_bf16(monkeypatch, True)


def _set_bf16(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    for module in (bitsandbytes.functional, bitsandbytes.nn.modules, bitsandbytes_4bit, bitsandbytes_int8):
        monkeypatch.setattr(module, "has_avx512bf16", lambda: there)


def _dequantize_with_avx512(packed: torch.Tensor, quant_state: Any, *_: Any, **__: Any) -> torch.Tensor:
    rows, columns = quant_state.shape
    absmax = quant_state.absmax
    if quant_state.nested:
        absmax = bitsandbytes.functional.dequantize_blockwise(absmax, quant_state.state2) + quant_state.offset
    place = torch.arange(rows * columns)
    if columns % _LANES == 0:
        block = place // columns * (columns // quant_state.blocksize) + place % columns // quant_state.blocksize
    else:
        block = place // quant_state.blocksize
    values: torch.Tensor = quant_state.code[_codes(packed)[: place.numel()]] * absmax.float()[block]
    return values.view(rows, columns).to(quant_state.dtype)


def _matmul(
    hidden: torch.Tensor, packed: torch.Tensor, quant_state: Any, out: Any = None, bias: torch.Tensor | None = None
) -> torch.Tensor:
    if not getattr(quant_state, "packing_format_for_cpu", False):
        return functional.linear(hidden, _dequantize_with_avx512(packed, quant_state).to(hidden.dtype), bias)
    rows, columns = quant_state.shape
    # Tiles of 32 rows. In each, a pair of columns has 64 codes in the halves of 32 bytes: 32 rows of the first column,
    # then 32 of the second.
    tiles = packed.view(rows // _TILE, columns // 2, _TILE)
    pairs = torch.cat((tiles & 15, tiles >> 4), -1).view(rows // _TILE, columns // 2, _TILE, 2)
    codes = pairs.permute(0, 2, 1, 3).reshape(rows, columns)
    scales = quant_state.absmax.T.float().repeat_interleave(quant_state.blocksize, 1)
    weight = (quant_state.code[codes.int()] * scales).bfloat16()
    found = functional.linear(hidden.bfloat16(), weight).to(hidden.dtype)
    return found if bias is None else torch.as_tensor(found + bias)


def _codes(packed: torch.Tensor) -> torch.Tensor:
    flat = packed.reshape(-1)
    return torch.stack((flat >> 4, flat & 15), -1).view(-1).int()
