"""All families of quantizers. A new one is named here and in the registry of `engines.transformers.quantizers`."""

from qplayground.core.quantizers import bitsandbytes, bitsandbytes_4bit, bitsandbytes_int8, torchao_int8, unquantized
from qplayground.core.quantizers.base import ReadyPrecision
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.core.quantizers.torchao_int8 import TorchaoInt8

Quantization = Int8 | FourBit | TorchaoInt8
"""The options of any family, told apart by their tags."""
FAMILIES: tuple[type[Quantization], ...] = (Int8, FourBit, TorchaoInt8)
READY: tuple[ReadyPrecision[Quantization], ...] = (
    *unquantized.READY,
    *bitsandbytes_int8.READY,
    *bitsandbytes_4bit.READY,
    *torchao_int8.READY,
)
"""The precisions that are always offered, a quantizer after the other."""
RULES = bitsandbytes.RULES
"""What is known to go wrong with their libraries."""


def libraries() -> frozenset[str]:
    """The packages that carry them out."""
    return frozenset(family.library for family in FAMILIES)
