"""All quantizer families. Add a new one here and in `qplayground.core.quantizers.registry`."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers.utils.quantization_config import QuantizationConfigMixin

from qplayground.core.errors import PlaygroundError
from qplayground.core.inside import QuantizationParams
from qplayground.core.precision import Precision
from qplayground.core.quantizers.base import Quantizer
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.core.quantizers.installed import missing
from qplayground.core.quantizers.registry import OWNERS
from qplayground.core.quantizers.torchao_int8 import TorchaoInt8
from qplayground.engines.transformers.quantizers.base import Backend
from qplayground.engines.transformers.quantizers.bitsandbytes_4bit import FourBitBackend
from qplayground.engines.transformers.quantizers.bitsandbytes_int8 import Int8Backend
from qplayground.engines.transformers.quantizers.codec import Codec
from qplayground.engines.transformers.quantizers.torchao_int8 import TorchaoInt8Backend

BACKENDS: dict[type[Quantizer], type[Backend[Any]]] = {
    Int8: Int8Backend,
    FourBit: FourBitBackend,
    TorchaoInt8: TorchaoInt8Backend,
}


def backend(options: Quantizer) -> Backend[Any]:
    """The backend for those options. Raises PlaygroundError(MISSING_PACKAGE) where its library is not installed."""
    error = missing(options)
    if error is not None:
        raise PlaygroundError(error)
    return BACKENDS[type(options)](options)


def codec_of(params: QuantizationParams, columns: int) -> Codec:
    """The codec of those parameters for a matrix of that many columns.

    Raises PlaygroundError(MISSING_PACKAGE) as `backend` does.
    """
    return backend(OWNERS[params.method]()).codec(params, columns)


def configuration(
    precision: Precision, skips: Sequence[str] = (), *, offloads: bool = False
) -> QuantizationConfigMixin | None:
    """transformers' quantization config of a precision; None for an unquantized one. See `Backend.config`."""
    if precision.quantization is None:
        return None
    return backend(precision.quantization).config(skips, offloads=offloads)


def family_of(module: nn.Module) -> type[Backend[Any]] | None:
    """The family that quantized that module of a loaded model; None if none did."""
    return next((family for family in BACKENDS.values() if family.owns(module)), None)
