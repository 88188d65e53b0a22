"""The methods, each a few calls of its library on a run of whole blocks. All of it is on the processor.

What bitsandbytes does not offer, the contrasts, are its own functions given something else:

- Evenly spaced levels in 4 and 3 bits: `quantize_blockwise` with `create_linear_map(total_bits=…)` as its code table.
- One scale for the whole tensor: a block is scaled by its largest weight, so into each block go two weights more, as
  large as the tensor's largest, and their codes are thrown away.
"""

from abc import ABC, abstractmethod

import bitsandbytes.functional as bnb
import torch
from bitsandbytes.functional import QuantState

from qplayground.core.inside import Knobs, Method

_WHOLE_BLOCK = 4096
"""What a tensor with a single scale is cut into."""
_KERNEL_BLOCK = 1024
"""Up to this size bitsandbytes has 4-bit kernels for every processor; beyond it can fall back to a compiled function,
which costs seconds for each new shape. A block with the same scale as its neighbour gives the same weights.
"""
_TABLE = 256
_TORCHAO_RANGE, _TORCHAO_STEPS = 128, 127.5
_TABLE_BYTES = 4


class Quantizer(ABC):
    """A method with its knobs. Weights are flat and in the knobs' dtype; `codes` are what is stored.

    `levels` are the values that displayed codes stand for, from `first_code` on. `unit`: so many weights, whole ones,
    must be quantized together.
    """

    levels: torch.Tensor
    first_code = 0
    code_dtype = torch.uint8
    unit: int
    table_bytes: int
    scale_bytes = 4
    nested_block = 256
    """Scales that share a scale of their own in double quantization."""

    def __init__(self, knobs: Knobs) -> None:
        self.knobs = knobs
        self.dtype: torch.dtype = getattr(torch, knobs.dtype)

    @abstractmethod
    def quantize(self, weights: torch.Tensor, largest: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The codes as they are stored and the absmax of each block, float32, of whole units and perhaps a rest.

        `largest` is the scale of the whole tensor where it has a single one.
        """

    @abstractmethod
    def dequantize(self, codes: torch.Tensor, absmax: torch.Tensor, count: int) -> torch.Tensor:
        """So many weights in the knobs' dtype, of codes that begin with a block."""

    @abstractmethod
    def code_span(self, first: int, last: int) -> slice:
        """Where the codes of those weights are stored; both are even, or the last is the tensor's end."""

    def displayed(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        """The codes of so many weights as numbers, int16."""
        return codes[:count].to(torch.int16)

    @abstractmethod
    def usage(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        """How often each level occurs in the codes of so many weights, int64."""

    def code_bytes(self, count: int) -> int:
        """What so many codes take, packed."""
        return -(-count * self.knobs.method.bits // 8)


class FourBit(Quantizer):
    """NF4 and FP4, two codes a byte."""

    def __init__(self, knobs: Knobs) -> None:
        super().__init__(knobs)
        self._type = str(knobs.method)
        self.levels = bnb.get_4bit_type(self._type, device="cpu")
        self.table_bytes = self.levels.numel() * _TABLE_BYTES
        self.unit = knobs.block_size or 2

    def quantize(self, weights: torch.Tensor, largest: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        if largest is None:
            codes, state = bnb.quantize_4bit(weights, blocksize=self.knobs.block_size, quant_type=self._type)
            return codes.view(-1), state.absmax
        codes, _ = bnb.quantize_4bit(_filled(weights, largest), blocksize=_WHOLE_BLOCK, quant_type=self._type)
        kept = codes.view(-1, _WHOLE_BLOCK // 2)[:, :-1].reshape(-1)
        return kept[: -(-weights.numel() // 2)], largest.float().view(1)

    def dequantize(self, codes: torch.Tensor, absmax: torch.Tensor, count: int) -> torch.Tensor:
        even = count + count % 2
        block = self.knobs.block_size
        if block is None or block > _KERNEL_BLOCK:
            absmax = _repeated(absmax, block, even, _KERNEL_BLOCK)
            block = _KERNEL_BLOCK
        state = QuantState(absmax, torch.Size((1, even)), None, block, self._type, self.dtype)
        return torch.as_tensor(bnb.dequantize_4bit(codes.view(-1, 1), state)).reshape(-1)[:count]

    def code_span(self, first: int, last: int) -> slice:
        return slice(first // 2, -(-last // 2))

    def displayed(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        return torch.stack((codes >> 4, codes & 15), dim=-1).view(-1)[:count].to(torch.int16)

    def usage(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        pairs = torch.bincount(codes, minlength=_TABLE).view(16, 16)
        found = pairs.sum(0) + pairs.sum(1)
        if count % 2:
            found[int(codes[-1]) & 15] -= 1  # bitsandbytes' padding
        return found


class Bytewise(Quantizer):
    """Blocks of codes of a byte each, by a table of evenly spaced levels: 8 bits, and fewer as the contrast.

    A table of fewer bits is filled up with zeros in its middle, all of which are the code 0.
    """

    def __init__(self, knobs: Knobs) -> None:
        super().__init__(knobs)
        self._table: torch.Tensor = bnb.create_linear_map(total_bits=knobs.method.bits)
        if knobs.method is Method.INT8_BLOCK:
            self.levels = self._table
            self.nested_block = knobs.block_size or self.nested_block  # as quantize_blockwise(nested=True) has it
            self._code_of = torch.arange(_TABLE, dtype=torch.int16)
        else:
            half = 2 ** (knobs.method.bits - 1) - 1
            self.first_code = -half
            self._table[half:-half] = 0  # its middle is off by a rounding error
            self.levels = torch.cat((self._table[:half], self._table[-half - 1 :]))
            place = torch.arange(_TABLE, dtype=torch.int16)
            self._code_of = place.clamp(max=half) - half + (place - (_TABLE - 1 - half)).clamp(min=0)
        self.table_bytes = self.levels.numel() * _TABLE_BYTES
        self.unit = knobs.block_size or 2

    def quantize(self, weights: torch.Tensor, largest: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        if largest is None:
            codes, state = bnb.quantize_blockwise(weights, code=self._table, blocksize=self.knobs.block_size)
            return codes, state.absmax
        codes, _ = bnb.quantize_blockwise(_filled(weights, largest), code=self._table, blocksize=_WHOLE_BLOCK)
        kept = codes.view(-1, _WHOLE_BLOCK)[:, :-2].reshape(-1)
        return kept[: weights.numel()], largest.float().view(1)

    def dequantize(self, codes: torch.Tensor, absmax: torch.Tensor, count: int) -> torch.Tensor:
        block = self.knobs.block_size
        if block is None:
            block = _WHOLE_BLOCK
            absmax = _repeated(absmax, None, count, block)
        state = QuantState(absmax, code=self._table, blocksize=block, dtype=self.dtype)
        return torch.as_tensor(bnb.dequantize_blockwise(codes[:count], state))

    def code_span(self, first: int, last: int) -> slice:
        return slice(first, last)

    def displayed(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        return self._code_of[codes[:count].int()]

    def usage(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        found = torch.zeros(self.levels.numel(), dtype=torch.int64)
        return found.index_add_(0, self._code_of.int() - self.first_code, torch.bincount(codes, minlength=_TABLE))


class RowInt8(Quantizer):
    """LLM.int8(): each row scaled by its largest weight, from float16 whatever the weights were in."""

    def __init__(self, knobs: Knobs, columns: int) -> None:
        super().__init__(knobs)
        self.first_code = -127
        self.code_dtype = torch.int8
        self.levels = torch.arange(-127, 128) / 127
        self.table_bytes = 0
        self.unit = columns

    def quantize(self, weights: torch.Tensor, largest: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        codes, absmax, _ = bnb.int8_vectorwise_quant(weights.view(-1, self.unit).to(torch.float16))
        return codes.view(-1), absmax

    def dequantize(self, codes: torch.Tensor, absmax: torch.Tensor, count: int) -> torch.Tensor:
        rows = codes[:count].view(absmax.numel(), -1)
        return torch.as_tensor(bnb.int8_vectorwise_dequant(rows, absmax)).view(-1).to(self.dtype)

    def code_span(self, first: int, last: int) -> slice:
        return slice(first, last)

    def usage(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        return torch.bincount(codes.view(torch.uint8), minlength=_TABLE).roll(127)[: self.levels.numel()]


class RowTorchao(RowInt8):
    """torchao's int8: each row scaled by its largest weight, which is 127.5 steps. Beside a float32 scale it stores
    a zero point of one byte, always zero. The absmax is in float64, so that the scale comes back exactly.
    """

    scale_bytes = 5

    def __init__(self, knobs: Knobs, columns: int) -> None:
        super().__init__(knobs, columns)
        self.first_code = -_TORCHAO_RANGE
        self.levels = torch.arange(-_TORCHAO_RANGE, _TORCHAO_RANGE) / _TORCHAO_STEPS

    def quantize(self, weights: torch.Tensor, largest: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        from torchao.quantization import Int8Tensor, PerRow

        made = Int8Tensor.from_hp(weights.view(-1, self.unit), granularity=PerRow())
        return made.qdata.reshape(-1), made.scale.double().view(-1) * _TORCHAO_STEPS

    def dequantize(self, codes: torch.Tensor, absmax: torch.Tensor, count: int) -> torch.Tensor:
        from torchao.quantization import Int8Tensor

        rows = codes[:count].view(absmax.numel(), -1)
        scale = (absmax / _TORCHAO_STEPS).float().view(-1, 1)
        zero = torch.zeros_like(scale, dtype=torch.int8)
        made = Int8Tensor(rows, scale, [1, rows.shape[1]], self.dtype, zero_point=zero)
        return torch.as_tensor(made.dequantize()).view(-1).to(self.dtype)

    def usage(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        return torch.bincount(codes.view(torch.uint8), minlength=_TABLE).roll(_TORCHAO_RANGE)


def quantizer(knobs: Knobs, columns: int) -> Quantizer:
    """The one for those knobs, of a matrix of so many columns."""
    if knobs.method is Method.INT8:
        return RowInt8(knobs, columns)
    if knobs.method is Method.INT8_TORCHAO:
        return RowTorchao(knobs, columns)
    return FourBit(knobs) if knobs.method in (Method.NF4, Method.FP4) else Bytewise(knobs)


def _filled(weights: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """In blocks, each with that value behind its weights, twice, so that codes in pairs stay in pairs."""
    width = _WHOLE_BLOCK - 2
    filled = weights.new_zeros(-(-weights.numel() // width), _WHOLE_BLOCK)
    filled[:, width:] = largest
    whole = weights.numel() // width
    filled[:whole, :width] = weights[: whole * width].view(whole, width)
    if whole < len(filled):
        filled[whole, : weights.numel() - whole * width] = weights[whole * width :]
    return filled.view(-1)


def _repeated(absmax: torch.Tensor, block: int | None, count: int, smaller: int) -> torch.Tensor:
    """The scales of smaller blocks, so many that they reach over `count` weights."""
    blocks = -(-count // smaller)
    if block is None:
        return absmax.expand(blocks).contiguous()
    return absmax.repeat_interleave(block // smaller)[:blocks]
