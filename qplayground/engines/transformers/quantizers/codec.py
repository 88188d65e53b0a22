"""The interface for looking inside a matrix: weights to codes and scales, and back. Runs on the CPU only."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch

from qplayground.core.inside import QuantizationParams

BYTE = 256
"""Number of distinct codes of one byte."""


@dataclass(frozen=True)
class BlockScales:
    """The absmax of every block, float32, and the bytes that store all of them.

    `used`: what codes are multiplied by. With double quantization it is dequantized from `codes`, one per block.
    Otherwise it is `exact`.
    """

    used: torch.Tensor
    exact: torch.Tensor
    num_bytes: int
    codes: torch.Tensor | None = None


class Codec(ABC):
    """A quantization method with its parameters. Weights are flat, in the parameters' dtype. `codes` are as stored.

    `levels`: the values of displayed codes, from `first_code` on.
    `unit`: weights are quantized in multiples of this number.
    `caster`: what casts weights to `input_dtype` first.
    """

    levels: torch.Tensor
    first_code = 0
    code_dtype = torch.uint8
    unit: int
    table_bytes = 0
    scale_bytes = 4
    caster = "a model in that type"

    def __init__(self, params: QuantizationParams) -> None:
        self.params = params
        self.dtype: torch.dtype = getattr(torch, params.dtype)
        self.input_dtype = self.dtype

    @abstractmethod
    def quantize(self, weights: torch.Tensor, largest: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The codes as stored, and each block's absmax, float32. Takes whole units and perhaps a remainder.

        `largest`: scale of the whole tensor where it has a single one.
        """

    @abstractmethod
    def dequantize(self, codes: torch.Tensor, absmax: torch.Tensor, count: int) -> torch.Tensor:
        """Dequantize `count` weights to the parameters' dtype. The codes must start with a block."""

    @abstractmethod
    def usage(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        """How often each level occurs in the codes of `count` weights, int64."""

    def scales(self, absmax: torch.Tensor) -> BlockScales:
        """The scales, stored as the parameters ask."""
        return BlockScales(absmax, absmax, absmax.numel() * self.scale_bytes)

    def code_span(self, first: int, last: int) -> slice:
        """Where the codes of those weights are stored. Both numbers are even, or `last` is the tensor's end."""
        return slice(first, last)

    def displayed(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        """The codes of `count` weights as numbers, int16."""
        return codes[:count].to(torch.int16)

    def code_bytes(self, count: int) -> int:
        """Bytes of `count` packed codes."""
        return -(-count * self.params.kind.bits // 8)


class RowCodec(Codec):
    """Signed one-byte codes, and one scale per row."""

    code_dtype = torch.int8

    def __init__(self, params: QuantizationParams, columns: int) -> None:
        super().__init__(params)
        self.unit = columns

    def usage(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        return torch.bincount(codes.view(torch.uint8), minlength=BYTE).roll(-self.first_code)[: self.levels.numel()]


class Stored(NamedTuple):
    """A matrix that was quantized before it was saved. `codes` are flat."""

    codec: Codec
    rows: int
    columns: int
    codes: torch.Tensor
    scales: BlockScales
