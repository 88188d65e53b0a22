"""Dequantized weights, computed from codes, scales and code table with plain torch.

Tests take their expected values from here. bitsandbytes' `dequantize_4bit` will not do: with AVX-512, version 0.50.2
gives wrong values where a block spans the end of a row.
"""

from typing import Any

import torch


def four_bit(packed: torch.Tensor, state: Any) -> torch.Tensor:
    """The weights that `quantize_4bit` packed. In each byte the high code comes first."""
    codes = torch.stack((packed >> 4, packed & 15), -1).view(-1)[: state.shape.numel()]
    return _times(codes, scales(state), state.code, state.blocksize).to(state.dtype).view(state.shape)


def by_block(codes: torch.Tensor, state: Any) -> torch.Tensor:
    """The weights behind the codes of `quantize_blockwise`, one byte each."""
    return _times(codes, scales(state), state.code, state.blocksize).to(state.dtype).view(codes.shape)


def scales(state: Any) -> torch.Tensor:
    """The absmax of each block, float32. Double quantization stores them as codes, minus their mean."""
    if not state.nested:
        return torch.as_tensor(state.absmax)
    nested = state.state2
    return torch.as_tensor(_times(state.absmax, nested.absmax, nested.code, nested.blocksize) + state.offset)


def _times(codes: torch.Tensor, absmax: torch.Tensor, levels: torch.Tensor, block: int) -> torch.Tensor:
    """Each code's level times the absmax of its block. Blocks continue past the ends of rows."""
    flat = codes.reshape(-1)
    return levels[flat.int()] * absmax.repeat_interleave(block)[: len(flat)]
