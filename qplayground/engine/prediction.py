"""The bytes that a precision's tensors will take, from the model's shapes alone.

bitsandbytes' layouts (block size B = 64, a layer of `out` x `in` = n elements, nb = ceil(n / B) blocks):

- int8: n + 4 · out, one float32 scale a row.
- 4-bit: ceil(n / 2) + 4 · nb + 64, a float32 absmax a block and a table of sixteen float32.
- double quantization: ceil(n / 2) + nb + 4 · ceil(nb / 256) + 1024 + 64 + 4, the absmax as uint8 with a second level of
  its own, its table of 256 float32, and a float32 offset.
- where the processor has AVX512-BF16, the first forward repacks 4-bit layers: the absmax becomes bfloat16 and the
  second level goes, the offset stays: ceil(n / 2) + 2 · nb + 64 (+ 4).

`tests/engine/test_prediction.py` holds them against loaded models, byte for byte.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import torch
from msgspec.structs import replace
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from qplayground.core.estimate import WeightKinds
from qplayground.core.precision import FourBit, Int8, Precision
from qplayground.engine.shapes import Shapes
from qplayground.engine.tracing import LayerUse

BLOCK = 64
_NESTED_BLOCK = 256
_CODE_BYTES = 16 * 4
_NESTED_CODE_BYTES = 256 * 4
_OFFSET_BYTES = 4
_ANEW: dict[str, Any] = {"quant_type": "fp4", "double_quantization": True}
"""How bitsandbytes quantizes where nothing else is said."""


def predicted_weights(
    shapes: Shapes, converted: Collection[str], precision: Precision, *, repacks: bool
) -> dict[str, WeightKinds]:
    """Bytes by module once the model has run.

    `converted` names the layers that get quantized; `repacks` says whether the first forward repacks 4-bit ones.
    """
    use = shapes.layer_use  # first of all: running a model can change its buffers, as its first text will
    skeleton = shapes.skeleton(precision.dtype)
    seen: set[int] = set()
    found: dict[str, WeightKinds] = {}
    float32 = _kept_in_float32(skeleton, getattr(torch, precision.dtype))
    for name, module in skeleton.named_modules():
        sums = WeightKinds()
        how = _conversion_of(use, name, precision, repacks=repacks) if name in converted else None
        for kinds, tensor in _of_module(name, module, how, float32):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                sums += kinds
        if sums.total:
            found[name] = sums
    return found


def quantized_kinds(rows: int, elements: int, precision: Precision, *, repacks: bool) -> WeightKinds:
    """Bytes of one converted weight and of what belongs to it."""
    recipe = precision.quantization
    if isinstance(recipe, Int8):
        return WeightKinds(quantized=elements, scales=4 * rows)
    assert isinstance(recipe, FourBit)
    blocks = -(-elements // BLOCK)
    nested = recipe.double_quantization
    if repacks:
        scales = 2 * blocks + _OFFSET_BYTES * nested
    elif nested:
        scales = blocks + 4 * -(-blocks // _NESTED_BLOCK) + _NESTED_CODE_BYTES + _OFFSET_BYTES
    else:
        scales = 4 * blocks
    return WeightKinds(quantized=-(-elements // 2), scales=scales + _CODE_BYTES)


class _Conversion(NamedTuple):
    """How a layer is held that was converted. `repacks`: its first forward repacks it; `runs`: it has a forward."""

    precision: Precision
    repacks: bool
    runs: bool


def _conversion_of(use: LayerUse, name: str, precision: Precision, *, repacks: bool) -> _Conversion:
    """A layer whose weight the model's code scales is quantized again by transformers, with bitsandbytes' defaults."""
    if name in use.rescaled and isinstance(precision.quantization, FourBit):
        precision = replace(precision, quantization=replace(precision.quantization, **_ANEW))
    runs = name in use.ran
    return _Conversion(precision, repacks and runs, runs)


def _of_module(
    name: str, module: nn.Module, converted: _Conversion | None, float32: re.Pattern[str] | None
) -> Iterator[tuple[WeightKinds, torch.Tensor]]:
    def held(kind: str, tensor: torch.Tensor) -> int:
        """As it comes out of the checkpoint: in the type that the model's code made it in."""
        stays = tensor.is_floating_point() and float32 is not None and float32.search(f"{name}.{kind}")
        return tensor.numel() * (4 if stays else tensor.element_size())

    for kind, parameter in module._parameters.items():
        if parameter is None:
            continue
        if converted is not None and kind == "weight":
            rows = parameter.shape[1] if isinstance(module, Conv1D) else parameter.shape[0]
            kinds = quantized_kinds(rows, parameter.numel(), converted.precision, repacks=converted.repacks)
            yield kinds, parameter
        elif converted is not None and converted.runs and isinstance(converted.precision.quantization, FourBit):
            itemsize = converted.precision.quantization.compute_dtype.itemsize  # the first forward casts a bias to that
            yield WeightKinds(plain=parameter.numel() * itemsize), parameter
        else:
            yield WeightKinds(plain=held(kind, parameter)), parameter
    for kind, buffer in module._buffers.items():
        if buffer is not None:
            computed = kind in module._non_persistent_buffers_set
            num_bytes = buffer.numel() * buffer.element_size() if computed else held(kind, buffer)
            yield WeightKinds(buffers=num_bytes), buffer


def _kept_in_float32(skeleton: PreTrainedModel, dtype: torch.dtype) -> re.Pattern[str] | None:
    """What the names look like of weights that transformers holds in float32 whatever was asked for."""
    globs = skeleton._get_dtype_plan(dtype)
    return re.compile("|".join(glob.replace("*", ".*") for glob in globs)) if globs else None
