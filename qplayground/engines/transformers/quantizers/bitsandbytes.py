"""Shared by both bitsandbytes families: which layers they convert, and how they store matrices in blocks.

The contrasts are methods that bitsandbytes does not offer. They call its functions with other inputs:

- Evenly spaced levels in 4 and 3 bits: `quantize_blockwise` with the codebook `create_linear_map(total_bits=…)`.
- One scale for the whole tensor: a block is scaled by its largest weight. So each block gets two extra weights as large
  as the tensor's largest, and their codes are dropped.
"""

from abc import abstractmethod
from typing import TypeVar

import bitsandbytes.functional as bnb
import torch
from bitsandbytes.functional import QuantState
from torch import nn
from transformers.pytorch_utils import Conv1D

from qplayground.core.inside import QuantizationParams
from qplayground.core.quantizers.base import Quantizer
from qplayground.engines.transformers.quantizers.base import Backend, Layer
from qplayground.engines.transformers.quantizers.codec import BYTE, BlockScales, Codec

Options = TypeVar("Options", bound=Quantizer)
_WHOLE_BLOCK = 4096
"""Block size for a tensor with a single scale."""
_KERNEL_BLOCK = 1024
"""Largest block for which bitsandbytes has kernels on every CPU.

Beyond it, bitsandbytes can fall back to a compiled function, which costs seconds for each new shape. Splitting a block
into smaller ones with the same scale gives the same weights.
"""
_NUMBER_BYTES = 4
_ALIGNED_OUTPUTS, _ALIGNED_INPUTS = 32, 64


class BitsandbytesBackend(Backend[Options]):
    """The modules that transformers replaces, and the library's name in checkpoints."""

    checkpoint = "bitsandbytes"

    def converts(self, module: nn.Module) -> bool:
        return type(module) is nn.Linear or isinstance(module, Conv1D)

    def is_usual(self, layer: Layer) -> bool:
        return layer.rows % _ALIGNED_OUTPUTS == 0 and layer.columns % _ALIGNED_INPUTS == 0 and not layer.is_deep


class BlockCodec(Codec):
    """Codes that index a codebook, `per_byte` to a byte, with one scale per block or for the tensor."""

    per_byte = 1
    nested_block = 256
    """Scales per second-level scale in double quantization."""

    def __init__(self, params: QuantizationParams, levels: torch.Tensor) -> None:
        super().__init__(params)
        self.levels = levels
        self.table_bytes = levels.numel() * _NUMBER_BYTES
        self.unit = params.block_size or 2

    @abstractmethod
    def _encode(self, weights: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The library's codes, and one absmax per block."""

    @abstractmethod
    def _decode(self, codes: torch.Tensor, absmax: torch.Tensor, block: int, count: int) -> torch.Tensor:
        """Dequantize `count` weights with the library."""

    def quantize(self, weights: torch.Tensor, largest: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        if largest is None:
            return self._encode(weights, self.unit)
        codes, _ = self._encode(_filled(weights, largest), _WHOLE_BLOCK)
        kept = codes.view(-1, _WHOLE_BLOCK // self.per_byte)[:, : -2 // self.per_byte].reshape(-1)
        return kept[self.code_span(0, weights.numel())], largest.float().view(1)

    def dequantize(self, codes: torch.Tensor, absmax: torch.Tensor, count: int) -> torch.Tensor:
        block = self.params.block_size
        if block is not None and block <= _KERNEL_BLOCK:
            return self._decode(codes, absmax, block, count)
        blocks = -(-count // _KERNEL_BLOCK)
        if block is None:
            absmax = absmax.expand(blocks).contiguous()
        else:
            absmax = absmax.repeat_interleave(block // _KERNEL_BLOCK)[:blocks]
        return self._decode(codes, absmax, _KERNEL_BLOCK, count)

    def code_span(self, first: int, last: int) -> slice:
        return slice(first // self.per_byte, -(-last // self.per_byte))

    def scales(self, absmax: torch.Tensor) -> BlockScales:
        """Double quantization as in `quantize_4bit`: subtract the mean, then quantize in blocks to a dynamic 8-bit
        type.
        """
        if not self.params.double_quant:
            return super().scales(absmax)
        offset = absmax.mean()
        codes, state = bnb.quantize_blockwise(absmax - offset, blocksize=self.nested_block)
        return nested_scales(codes, state, offset, absmax)


def nested_scales(
    codes: torch.Tensor, state: QuantState, offset: torch.Tensor, exact: torch.Tensor | None = None
) -> BlockScales:
    """Scales from double quantization: one-byte codes, their own scales and codebook, and an offset."""
    used = bnb.dequantize_blockwise(codes, state)
    used += offset
    numbers = state.absmax.numel() + state.code.numel() + 1
    return BlockScales(used, used if exact is None else exact, codes.numel() + int(numbers) * _NUMBER_BYTES, codes)


class LinearCodec(BlockCodec):
    """One-byte codes for a codebook of evenly spaced levels: 8 bits, and fewer as the contrast.

    A codebook of fewer bits is padded with zeros in the middle. They all stand for code 0.
    """

    def __init__(self, params: QuantizationParams) -> None:
        bits = params.kind.bits
        self._table: torch.Tensor = bnb.create_linear_map(total_bits=bits)
        place = torch.arange(BYTE, dtype=torch.int16)
        if bits == 8:
            super().__init__(params, self._table)
            self.nested_block = params.block_size or self.nested_block  # as quantize_blockwise(nested=True) has it
            self._code_of = place
        else:
            half = 2 ** (bits - 1) - 1
            self._table[half:-half] = 0  # its middle is off by a rounding error
            super().__init__(params, torch.cat((self._table[:half], self._table[-half - 1 :])))
            self.first_code = -half
            self._code_of = place.clamp(max=half) - half + (place - (BYTE - 1 - half)).clamp(min=0)

    def _encode(self, weights: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor]:
        codes, state = bnb.quantize_blockwise(weights, code=self._table, blocksize=block)
        return codes, state.absmax

    def _decode(self, codes: torch.Tensor, absmax: torch.Tensor, block: int, count: int) -> torch.Tensor:
        state = QuantState(absmax, code=self._table, blocksize=block, dtype=self.dtype)
        return torch.as_tensor(bnb.dequantize_blockwise(codes[:count], state))

    def displayed(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        return self._code_of[codes[:count].int()]

    def usage(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        found = torch.zeros(self.levels.numel(), dtype=torch.int64)
        return found.index_add_(0, self._code_of.int() - self.first_code, torch.bincount(codes, minlength=BYTE))


def _filled(weights: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """The weights in blocks. Each block ends in `largest` twice, so that codes in pairs stay in pairs."""
    width = _WHOLE_BLOCK - 2
    blocks = weights.new_zeros(-(-weights.numel() // width), _WHOLE_BLOCK)
    blocks[:, width:] = largest
    whole = weights.numel() // width
    blocks[:whole, :width] = weights[: whole * width].view(whole, width)
    if whole < len(blocks):
        blocks[whole, : weights.numel() - whole * width] = weights[whole * width :]
    return blocks.view(-1)


def check(good: bool, found: str) -> None:
    """Raises ValueError(found) unless `good`: the stored parts do not belong together."""
    if not good:
        raise ValueError(found)
