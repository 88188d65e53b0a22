"""All families of quantizers. A new one is named here and in the registry of `engines.transformers.quantizers`."""

from qplayground.core.quantizers import bitsandbytes, bitsandbytes_4bit, bitsandbytes_int8, torchao_int8, unquantized
from qplayground.core.quantizers.base import Method, ReadyPrecision
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.core.quantizers.installed import missing
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
OWNERS = {method.name: family for family in FAMILIES for method in family.methods}
"""The family of each method, by the method's name."""
_METHODS = sorted(
    (method for family in FAMILIES for method in family.methods), key=lambda it: (-it.bits, it.has_blocks)
)
METHODS: dict[str, Method] = {method.name: method for method in _METHODS}
"""What can be looked inside, by name: the widest codes first, and those with a scale a row before those of blocks."""
RULES = bitsandbytes.RULES
"""What is known to go wrong with their libraries."""


def available_methods() -> list[Method]:
    """Those whose library is installed."""
    return [method for method in METHODS.values() if missing(OWNERS[method.name]()) is None]


def libraries() -> frozenset[str]:
    """The packages that carry them out."""
    return frozenset(family.library for family in FAMILIES)
