"""Checks what a quantizer's library computes with a layer against the layer's codes and scales.

bitsandbytes' kernels differ by CPU and version, and some go wrong at some widths. 0.50.2 dequantizes 4-bit layers
wrongly with AVX-512 where a block of 64 spans the end of a row. Its AVX512-BF16 kernel refuses layers unless inputs are
a multiple of 64 and outputs of 32.

So no version or CPU is hard-coded here. The library is tried on a few rows of that width before a load, and on the
loaded layers after it.
"""

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, fail
from qplayground.core.precision import Precision
from qplayground.core.quantizers.registry import Quantization
from qplayground.core.system.frozen import remedy
from qplayground.engines.transformers.quantizers.base import Backend, Layer
from qplayground.engines.transformers.quantizers.registry import backend, family_of

_TILE = 32
_BLOCK = 64
_ROWS = 4
"""Minimum number of rows to check. Where blocks span rows: up to the next row that starts a block."""
_COLUMNS = 24
"""Number of inputs to try, drawn at random because an error can depend on the position in a block."""
_TOLERANCE = 0.02
"""Relative tolerance for kernels' rounding: of results to 16 bits, and of scales on some CPUs."""
_BIAS_TOLERANCE = 0.01
_LEAST = 1e-3
"""Differences below this share of the largest value do not count."""
_STEPS = 2.0**-22
"""Four times float16's smallest positive number."""
_USUAL_DIMENSIONS = 3


def obstacle(layer: Layer, quantization: Quantization, dtype: Dtype) -> str:
    """Why such a layer cannot be quantized on this CPU, as half a sentence; empty where it can.

    Takes milliseconds for an unusual layer, nothing for others.
    """
    if backend(quantization).is_usual(layer):
        return ""
    few = layer.rows if layer.rows <= 2 * _TILE else _TILE + layer.rows % _TILE
    return tried(layer._replace(rows=few), quantization, dtype)


@lru_cache(maxsize=1024)
@torch.inference_mode()
def tried(layer: Layer, quantization: Quantization, dtype: Dtype) -> str:
    """Try such a layer: why it cannot be quantized, or an empty string. Cached, so each layer is tried once."""
    quantizer = backend(quantization)
    made = quantized_layer(layer, quantizer, getattr(torch, dtype))
    expected = quantizer.leading_rows(made, _sampled_rows(quantizer, layer.rows, layer.columns))
    try:
        with torch.compiler.set_stance("force_eager"):  # odd widths are compiled, which takes seconds
            is_right = computes(made, expected, getattr(torch, dtype), layer.dimensions)
    except (RuntimeError, AssertionError, ValueError, IndexError):
        return f"{quantization.library} cannot compute with layers of that shape on this processor"
    return "" if is_right else f"{quantization.library} computes wrongly with layers of that shape on this processor"


def quantized_layer(layer: Layer, quantizer: Backend[Any], dtype: torch.dtype) -> nn.Module:
    """A quantized layer of that shape. Its blocks differ in magnitude, so that a wrong block's scale shows."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(layer.rows * layer.columns, generator=random)
    weight *= 2.0 ** (torch.arange(weight.numel()) // _BLOCK % 7)
    return quantizer.layer(weight.view(layer.rows, layer.columns).to(dtype)).eval().to("cpu")


class Sample(NamedTuple):
    """One layer of a model, and its first rows dequantized by hand before its first forward."""

    name: str
    expected: torch.Tensor


def samples(model: nn.Module, quantization: Quantization, names: Collection[str]) -> list[Sample]:
    """One layer of each distinct kind, shape and device among those names. Call it before the first forward."""
    found: dict[tuple[str, int, int, str], Sample] = {}
    quantizer = backend(quantization)
    for name, module in _quantized(model):
        key = (type(module).__name__, module.out_features, module.in_features, str(module.weight.device))
        if key not in found and name in names:
            rows = _sampled_rows(quantizer, module.out_features, module.in_features)
            found[key] = Sample(name, quantizer.leading_rows(module, rows))
    return list(found.values())


@torch.inference_mode()
def verify_computed(model: nn.Module, taken: list[Sample], precision: Precision) -> None:
    """Check what each sampled layer computes against its codes and scales. Takes some milliseconds each.

    Raises PlaygroundError(WRONG_VALUES).
    """
    for sample in taken:
        assert precision.quantization is not None
        layer: Any = model.get_submodule(sample.name)
        if not computes(layer, sample.expected, getattr(torch, precision.dtype)):
            raise fail(
                ErrorCode.WRONG_VALUES,
                f"{backend(precision.quantization).library} computes wrongly with {precision.label} layers of "
                f"{layer.in_features:,} inputs and {layer.out_features:,} outputs on {layer.weight.device}: "
                f"{sample.name} gives other values than its codes and scales say.",
                remedy(
                    "Add such layers to the skipped modules, choose another precision, or install another version of "
                    f"{precision.quantization.library}.",
                    "Add such layers to the skipped modules, or choose another precision.",
                ),
            )


def _quantized(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if family_of(module) is not None:
            yield name, module


def computes(layer: Any, expected: torch.Tensor, dtype: torch.dtype, dimensions: int = _USUAL_DIMENSIONS) -> bool:
    """Whether the layer returns the columns of its weight for one-hot inputs.

    It is called with all inputs at once, which uses the prefill kernels, and with one, which uses the decode kernels.
    """
    rows, columns = expected.shape
    places = torch.randperm(columns, generator=torch.Generator().manual_seed(0))[:_COLUMNS]
    inputs = torch.zeros(len(places), columns, dtype=dtype)
    inputs[torch.arange(len(places)), places] = 1
    bias = torch.zeros(rows) if layer.bias is None else layer.bias[:rows].float().cpu()
    right = expected[:, places].T
    room = _LEAST * right.abs().max() + _BIAS_TOLERANCE * bias.abs().max() + _STEPS
    allowed = _TOLERANCE * right.abs() + room
    inputs = inputs.to(layer.weight.device)
    for shown, wanted, far in ((inputs, right, allowed), (inputs[:1], right[:1], allowed[:1])):
        given = shown.view(*[1] * (dimensions - 2), *shown.shape)
        found = layer(given).reshape(len(shown), -1)[:, :rows].float().cpu() - bias
        if not bool(((found - wanted).abs() <= far).all()):
            return False
    return True


def _sampled_rows(quantizer: Backend[Any], rows: int, columns: int) -> int:
    return min(rows, max(_ROWS, quantizer.rows_until_a_block_begins(columns)))
