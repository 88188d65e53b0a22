"""What looking inside a matrix asks of a family: from weights to codes and scales, and back. All on the processor."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch

from qplayground.core.inside import QuantizationParams

BYTE = 256
"""Codes that a byte can hold."""


@dataclass(frozen=True)
class BlockScales:
    """The absmax of every block, float32, and all bytes that are stored of them. `used` is what codes are multiplied
    by: with double quantization it comes out of `codes`, one a block, again; else it is `exact`.
    """

    used: torch.Tensor
    exact: torch.Tensor
    num_bytes: int
    codes: torch.Tensor | None = None


class Codec(ABC):
    """A method with its parameters. Weights are flat and in the parameters' dtype; `codes` are what is stored.

    `levels` are the values that displayed codes stand for, from `first_code` on. `unit`: so many weights, whole ones,
    must be quantized together. `caster` casts weights to `input_dtype` before anything else.
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
        """The codes as they are stored and the absmax of each block, float32, of whole units and perhaps a rest.

        `largest` is the scale of the whole tensor where it has a single one.
        """

    @abstractmethod
    def dequantize(self, codes: torch.Tensor, absmax: torch.Tensor, count: int) -> torch.Tensor:
        """So many weights in the parameters' dtype, of codes that begin with a block."""

    @abstractmethod
    def usage(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        """How often each level occurs in the codes of so many weights, int64."""

    def scales(self, absmax: torch.Tensor) -> BlockScales:
        """The scales as the parameters want them stored."""
        return BlockScales(absmax, absmax, absmax.numel() * self.scale_bytes)

    def code_span(self, first: int, last: int) -> slice:
        """Where the codes of those weights are stored; both are even, or the last is the tensor's end."""
        return slice(first, last)

    def displayed(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        """The codes of so many weights as numbers, int16."""
        return codes[:count].to(torch.int16)

    def code_bytes(self, count: int) -> int:
        """What so many codes take, packed."""
        return -(-count * self.params.kind.bits // 8)


class RowCodec(Codec):
    """Signed codes of a byte, and one scale a row."""

    code_dtype = torch.int8

    def __init__(self, params: QuantizationParams, columns: int) -> None:
        super().__init__(params)
        self.unit = columns

    def usage(self, codes: torch.Tensor, count: int) -> torch.Tensor:
        return torch.bincount(codes.view(torch.uint8), minlength=BYTE).roll(-self.first_code)[: self.levels.numel()]


class Stored(NamedTuple):
    """A matrix that was quantized before it was saved: `codes` are flat."""

    codec: Codec
    rows: int
    columns: int
    codes: torch.Tensor
    scales: BlockScales
