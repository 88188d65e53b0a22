"""What quantized codes stand for, computed from codes, scales and code table with plain torch.

These are the expected values of tests. bitsandbytes' `dequantize_4bit` cannot be: version 0.50.2 gives wrong values on
processors with AVX-512 where a block spans the end of a row.
"""

from typing import Any

import torch


def four_bit(packed: torch.Tensor, state: Any) -> torch.Tensor:
    """The weights that `quantize_4bit` packed. Of the two codes in a byte the high one is first."""
    codes = torch.stack((packed >> 4, packed & 15), -1).view(-1)[: state.shape.numel()]
    return _times(codes, scales(state), state.code, state.blocksize).to(state.dtype).view(state.shape)


def by_block(codes: torch.Tensor, state: Any) -> torch.Tensor:
    """The weights of which `quantize_blockwise` made those codes, a byte each."""
    return _times(codes, scales(state), state.code, state.blocksize).to(state.dtype).view(codes.shape)


def scales(state: Any) -> torch.Tensor:
    """The absmax of each block, float32. Double quantization stores them as codes of their own, less their mean."""
    if not state.nested:
        return torch.as_tensor(state.absmax)
    nested = state.state2
    return torch.as_tensor(_times(state.absmax, nested.absmax, nested.code, nested.blocksize) + state.offset)


def _times(codes: torch.Tensor, absmax: torch.Tensor, levels: torch.Tensor, block: int) -> torch.Tensor:
    """Each code's level times the absmax of its block; blocks run on over the ends of rows."""
    flat = codes.reshape(-1)
    return levels[flat.int()] * absmax.repeat_interleave(block)[: len(flat)]
