"""Predicts the bytes of a precision's tensors, from the model's shapes alone. The quantizers know the layouts.

`tests/engine/test_prediction.py` compares the result with loaded models, byte for byte.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from qplayground.core.memory.estimate import WeightKinds
from qplayground.core.precision import Precision
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.model.tracing import LayerUse
from qplayground.engines.transformers.quantizers.base import Backend
from qplayground.engines.transformers.quantizers.registry import backend


def predicted_weights(
    shapes: Shapes, converted: Collection[str], precision: Precision, *, repacks: bool
) -> dict[str, WeightKinds]:
    """Bytes by module once the model has run.

    `converted`: the layers that get quantized. `repacks`: the first forward may repack them.
    """
    use = shapes.layer_use  # must come first: running a model can change its buffers, as its first text will
    skeleton = shapes.skeleton(precision.dtype)
    seen: set[int] = set()
    found: dict[str, WeightKinds] = {}
    quantizer = None if precision.quantization is None else backend(precision.quantization)
    float32 = _kept_in_float32(skeleton, getattr(torch, precision.dtype))
    for name, module in skeleton.named_modules():
        sums = WeightKinds()
        how = _conversion_of(use, name, quantizer, repacks=repacks) if quantizer and name in converted else None
        for kinds, tensor in _of_module(name, module, how, float32):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                sums += kinds
        if sums.total:
            found[name] = sums
    return found


class _Conversion(NamedTuple):
    """How a converted layer is held. `repacks`: its first forward repacks it. `runs`: it has a forward."""

    quantizer: Backend[Any]
    repacks: bool
    runs: bool


def _conversion_of(use: LayerUse, name: str, quantizer: Backend[Any], *, repacks: bool) -> _Conversion:
    runs = name in use.ran
    return _Conversion(quantizer.rescaled() if name in use.rescaled else quantizer, repacks and runs, runs)


def _of_module(
    name: str, module: nn.Module, converted: _Conversion | None, float32: re.Pattern[str] | None
) -> Iterator[tuple[WeightKinds, torch.Tensor]]:
    def held(kind: str, tensor: torch.Tensor) -> int:
        """Bytes of a tensor loaded in the dtype that the model's code made it in."""
        stays = tensor.is_floating_point() and float32 is not None and float32.search(f"{name}.{kind}")
        return tensor.numel() * (4 if stays else tensor.element_size())

    for kind, parameter in module._parameters.items():
        if parameter is None:
            continue
        if converted is not None and kind == "weight":
            rows = parameter.shape[1] if isinstance(module, Conv1D) else parameter.shape[0]
            yield converted.quantizer.predicted(rows, parameter.numel(), repacks=converted.repacks), parameter
        elif converted is not None and converted.runs and (cast := converted.quantizer.bias_dtype()) is not None:
            yield WeightKinds(plain=parameter.numel() * cast.itemsize), parameter
        else:
            yield WeightKinds(plain=held(kind, parameter)), parameter
    for kind, buffer in module._buffers.items():
        if buffer is not None:
            computed = kind in module._non_persistent_buffers_set
            num_bytes = buffer.numel() * buffer.element_size() if computed else held(kind, buffer)
            yield WeightKinds(buffers=num_bytes), buffer


def _kept_in_float32(skeleton: PreTrainedModel, dtype: torch.dtype) -> re.Pattern[str] | None:
    """Pattern for the names of weights that transformers holds in float32 in every precision."""
    globs = skeleton._get_dtype_plan(dtype)
    return re.compile("|".join(glob.replace("*", ".*") for glob in globs)) if globs else None
