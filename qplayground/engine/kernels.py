"""What bitsandbytes computes with a quantized layer, held against its codes and scales.

Its kernels differ by processor and version, and some go wrong at some widths: 0.50.2 dequantizes 4-bit layers wrongly
with AVX-512 where a block of 64 spans the end of a row, and its kernel for AVX512-BF16 refuses what is no multiple of
64 inputs and 32 outputs. So nothing here knows versions or processors: the library is asked, on a few rows of that
width before a load, and on the loaded layers after it.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import bitsandbytes as bnb
import torch
from torch import nn

from qplayground.core.errors import ErrorCode, fail
from qplayground.core.frozen import remedy
from qplayground.core.precision import Dtype, FourBit, Int8, Precision
from qplayground.engine.reference import leading_rows
from qplayground.engine.tracing import LayerUse

_BLOCK = 64
_TILE = 32
_ROWS = 4
"""At least so many rows are looked at; more where blocks span rows, until a row begins with a block again."""
_COLUMNS = 24
"""So many inputs are tried, drawn at random, since what goes wrong can depend on the place in a block."""
_TOLERANCE = 0.02
"""Of a value, for what kernels round: results to 16 bits, and scales on some processors."""
_BIAS_TOLERANCE = 0.01
_LEAST = 1e-3
"""Of the largest value, below which differences do not count."""
_STEPS = 2.0**-22
"""Four steps of float16's smallest numbers."""
_DEEP = 3
"""Inputs of more dimensions are unusual."""


class Layer(NamedTuple):
    """What decides how a layer is computed: outputs, inputs, and how many dimensions its input tensors have."""

    rows: int
    columns: int
    dimensions: int = _DEEP

    @property
    def is_usual(self) -> bool:
        """Whether every kernel takes it."""
        return self.rows % _TILE == 0 and self.columns % _BLOCK == 0 and self.dimensions <= _DEEP

    @property
    def text(self) -> str:
        return f"{self.columns:,} inputs and {self.rows:,} outputs"


def obstacle(layer: Layer, quantization: FourBit | Int8, dtype: Dtype) -> str:
    """Why such a layer must stay as it is on this processor, half a sentence; empty where it can be quantized.

    Milliseconds for an unusual layer, nothing for others.
    """
    if layer.is_usual:
        return ""
    few = layer.rows if layer.rows <= 2 * _TILE else _TILE + layer.rows % _TILE
    return _tried(layer._replace(rows=few), quantization, dtype)


@lru_cache(maxsize=1024)
@torch.inference_mode()
def _tried(layer: Layer, quantization: FourBit | Int8, dtype: Dtype) -> str:
    made = _made(layer, quantization, getattr(torch, dtype))
    rows = min(layer.rows, _rows_until_a_block_begins(layer.columns))
    expected = leading_rows(made, rows)
    try:
        with torch.compiler.set_stance("force_eager"):  # odd widths are compiled, which takes seconds
            is_right = _computes(made, expected, getattr(torch, dtype), layer.dimensions)
    except (RuntimeError, AssertionError, ValueError, IndexError):
        return "bitsandbytes cannot compute with layers of that shape on this processor"
    return "" if is_right else "bitsandbytes computes wrongly with layers of that shape on this processor"


def _made(layer: Layer, quantization: FourBit | Int8, dtype: torch.dtype) -> nn.Module:
    """A quantized layer of that shape, whose blocks differ in size, so that a scale taken from another one shows."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(layer.rows * layer.columns, generator=random)
    weight *= 2.0 ** (torch.arange(weight.numel()) // _BLOCK % 7)
    return quantized_layer(weight.view(layer.rows, layer.columns).to(dtype), quantization).eval().to("cpu")


def quantized_layer(weight: torch.Tensor, quantization: FourBit | Int8) -> nn.Module:
    """A bitsandbytes layer with that weight, (out, in), without a bias. It is quantized once it is put on a device."""
    rows, columns = weight.shape
    made: nn.Module
    if isinstance(quantization, FourBit):
        made = bnb.nn.Linear4bit(
            columns,
            rows,
            bias=False,
            compute_dtype=getattr(torch, quantization.compute_dtype),
            quant_type=quantization.quant_type,
        )
        made.weight = bnb.nn.Params4bit(
            weight,
            requires_grad=False,
            quant_type=quantization.quant_type,
            compress_statistics=quantization.double_quantization,
            blocksize=_BLOCK,
        )
        return made
    made = bnb.nn.Linear8bitLt(columns, rows, bias=False, has_fp16_weights=False, threshold=quantization.threshold)
    made.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    return made


class Sample(NamedTuple):
    """One layer of a model and what its first rows are by hand, from before its first forward."""

    name: str
    expected: torch.Tensor


def samples(model: nn.Module, use: LayerUse) -> list[Sample]:
    """A layer of each distinct kind and shape that text goes through, but for those whose weight the model's code will
    change. To be called before the first forward.
    """
    found: dict[tuple[str, int, int, str], Sample] = {}
    for name, module in _quantized(model):
        key = (type(module).__name__, module.out_features, module.in_features, str(module.weight.device))
        if key not in found and name in use.ran and name not in use.rescaled:
            rows = min(module.out_features, _rows_until_a_block_begins(module.in_features))
            found[key] = Sample(name, leading_rows(module, rows))
    return list(found.values())


@torch.inference_mode()
def verify_computed(model: nn.Module, taken: list[Sample], precision: Precision) -> None:
    """Check what each sampled layer computes against its codes and scales; some milliseconds each.

    Raises PlaygroundError(WRONG_VALUES).
    """
    for sample in taken:
        layer: Any = model.get_submodule(sample.name)
        if not _computes(layer, sample.expected, getattr(torch, precision.dtype)):
            raise fail(
                ErrorCode.WRONG_VALUES,
                f"bitsandbytes {bnb.__version__} computes wrongly with {precision.label} layers of "
                f"{layer.in_features:,} inputs and {layer.out_features:,} outputs on {layer.weight.device}: "
                f"{sample.name} gives other values than its codes and scales say.",
                remedy(
                    "Add such layers to the skipped modules, choose another precision, or install another version of "
                    "bitsandbytes.",
                    "Add such layers to the skipped modules, or choose another precision.",
                ),
            )


def _quantized(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if type(module).__name__ in ("Linear4bit", "Linear8bitLt"):
            yield name, module


def _computes(layer: Any, expected: torch.Tensor, dtype: torch.dtype, dimensions: int = _DEEP) -> bool:
    """Whether the layer gives the columns of its weight for inputs that are one at a place and zero elsewhere; for all
    of them at once, which goes through the kernels of a prompt, and for one, which goes through those of a token.
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


def _rows_until_a_block_begins(columns: int) -> int:
    return max(_ROWS, _BLOCK // math.gcd(columns, _BLOCK))
