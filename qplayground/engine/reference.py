"""A quantized layer's weight by hand: codes times scales in plain torch, without the library whose result is checked.

bitsandbytes' layouts: a byte holds two 4-bit codes, the first in its upper half; blocks run on from row to row. A
nested absmax is a code of its own: table[code] · absmax of 256 blocks + offset. int8 is code · row's scale / 127.
"""

from typing import Any

import torch
from torch import nn

_INT8_LARGEST = 127


def leading_rows(layer: nn.Module, rows: int) -> torch.Tensor:
    """The first rows of a Linear4bit's or Linear8bitLt's weight, (rows, in), float32, on the processor.

    Of a 4-bit layer only before its first forward, which can repack it. Raises ValueError for another layer.
    """
    weight: Any = layer.weight
    kind = type(layer).__name__
    if kind == "Linear4bit":
        count = rows * weight.quant_state.shape[1]
        return dequantized(weight.data, weight.quant_state, count).view(rows, -1)
    if kind == "Linear8bitLt":
        state: Any = layer.state
        codes: torch.Tensor = weight.CB if weight.CB is not None else state.CB
        scales: torch.Tensor = weight.SCB if weight.SCB is not None else state.SCB
        return codes[:rows].cpu().float() * scales[:rows].cpu().view(-1, 1) / _INT8_LARGEST
    raise ValueError(f"a {kind} is not quantized")


def dequantized(packed: torch.Tensor, state: Any, count: int) -> torch.Tensor:
    """The first `count` values of packed 4-bit codes with a bitsandbytes QuantState, flat, float32."""
    pairs = packed.reshape(-1)[: -(-count // 2)].cpu().view(torch.uint8)
    codes = torch.stack((pairs >> 4, pairs & 15), dim=-1).view(-1)[:count]
    blocks = -(-count // state.blocksize)
    scales = _absmax(state)[:blocks].repeat_interleave(state.blocksize)[:count]
    table: torch.Tensor = state.code.cpu().float()
    return table[codes.int()] * scales


def _absmax(state: Any) -> torch.Tensor:
    absmax: torch.Tensor = state.absmax.cpu().reshape(-1)
    if not state.nested:
        return absmax.float()
    nested = state.state2
    scales: torch.Tensor = nested.absmax.cpu().float().repeat_interleave(nested.blocksize)[: absmax.numel()]
    table: torch.Tensor = nested.code.cpu().float()
    offset: torch.Tensor = state.offset.cpu().float()
    return table[absmax.int()] * scales + offset
