"""Estimates what each precision of a model will take, from config and headers alone."""

from collections.abc import Mapping
from itertools import accumulate

import torch

from qplayground.core.errors import PlaygroundError
from qplayground.core.measures.windows import ROUNDED_ROWS, ROWS, WINDOW
from qplayground.core.memory.estimate import ContextSize, Estimate, WeightKinds
from qplayground.core.placement import CPU, DISK, Placement, device_of, main_device
from qplayground.core.precision import Precision
from qplayground.engines.transformers.machine.mapped_files import HELD_SOURCE_BYTES
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.model.tracing import CannotRunError
from qplayground.engines.transformers.prediction.context import ContextSizes
from qplayground.engines.transformers.prediction.placement import by_device, caution, converted_layers, device_map
from qplayground.engines.transformers.prediction.weights import predicted_weights
from qplayground.engines.transformers.quantizers.registry import backend

WORKING_BYTES = 14_000_000
"""Bytes that stay beside weights and cache: pages of kernels that the first text touches.

Measured on the demo model in all ready precisions, at 12 to 16 MB, once freed blocks are given back.
"""
_HEAP_FACTOR = 2.0
"""Bytes that glibc's heap (2.36) takes per byte of tensors that prefill needs at once, until it is trimmed.

A quantizer has its own factor. Measured with 300 to 3,000 tokens on models of 0.1 and 1.1 billion parameters, at 1.1 to
2.7.
"""
_UNFUSED_BYTES, _UNFUSED_COPIES = 50_000_000, 4
"""What the heap takes besides, until it is trimmed, where each token dequantizes one layer after another.

A fixed part, and copies of the largest layer. Measured at 50 to 90 MB on the demo model, 90 to 210 MB on one of 1.1
billion parameters.
"""
_MEASURING_BYTES = 20
"""Temporary bytes per element of comparing a layer's weight with the checkpoint's.

Both as float32, their difference, and what they are made from.
"""


def weights_by_module(shapes: Shapes, precision: Precision, placed: Mapping[str, str]) -> dict[str, WeightKinds]:
    """Bytes that each module will hold once the model has run with that placement.

    Raises what `converted_layers` raises.
    """
    on_cpu = set(placed.values()) == {CPU}
    repacks = on_cpu and precision.quantization is not None and backend(precision.quantization).repacks()
    converted = frozenset(converted_layers(shapes, precision, placed))
    return predicted_weights(shapes, converted, precision, repacks=repacks)


def load_extra_bytes(shapes: Shapes, precision: Precision, checkpoint: Checkpoint, placed: Mapping[str, str]) -> int:
    """RAM beyond the weights at a load's peak: pages of the file, and on the CPU the layer being quantized."""
    held = min(HELD_SOURCE_BYTES, checkpoint.total_bytes)
    if precision.is_quantized:
        quantizing = quantizing_bytes(shapes, precision, placed) if set(placed.values()) == {CPU} else 0
        return WORKING_BYTES + held + quantizing
    if checkpoint.dtypes != {str(precision.dtype)}:
        return WORKING_BYTES + held
    # Mapped, then copied one by one: all copies so far, and the source of the current one.
    sizes = [
        parameter.numel() * precision.dtype.itemsize
        for name, parameter in shapes.skeleton(precision.dtype).named_parameters()
        if device_of(name, placed) == CPU
    ]
    if not sizes:
        return WORKING_BYTES + held
    worst: int = max(copied + size for copied, size in zip(accumulate(sizes), sizes, strict=True)) - sum(sizes)
    return WORKING_BYTES + worst


def quantizing_bytes(shapes: Shapes, precision: Precision, placed: Mapping[str, str]) -> int:
    """Temporary bytes of quantizing the largest layer, on the device where that is done."""
    if precision.quantization is None:
        return 0
    layers = [shapes.linear_layers[name] for name in converted_layers(shapes, precision, placed)]
    return max(rows * columns for rows, columns in layers) * backend(precision.quantization).quantizing_bytes


def read_again_bytes(shapes: Shapes, precision: Precision, placed: Mapping[str, str]) -> int:
    """Temporary bytes of a forward that reads its largest tensor on disk: the tensor, and its pages of the file."""
    on_disk = (
        parameter.numel() * precision.dtype.itemsize
        for name, parameter in shapes.skeleton(precision.dtype).named_parameters()
        if device_of(name, placed) == DISK
    )
    return 2 * max(on_disk, default=0)


def unfused_bytes(shapes: Shapes, precision: Precision, placed: Mapping[str, str]) -> int:
    """Temporary bytes of a token on a CPU without a kernel that computes with quantized weights directly.

    One layer is dequantized at a time.
    """
    if precision.quantization is None or set(placed.values()) != {CPU}:
        return 0
    itemsize = backend(precision.quantization).unfused_itemsize(precision.dtype)
    if not itemsize:
        return 0
    layers = [shapes.linear_layers[name] for name in converted_layers(shapes, precision, placed)]
    return _UNFUSED_BYTES + _UNFUSED_COPIES * itemsize * max(rows * columns for rows, columns in layers)


def working_bytes(
    shapes: Shapes, precision: Precision, context: ContextSize | None, placed: Mapping[str, str]
) -> tuple[int, int]:
    """Bytes beside weights and cache while a text is generated, and the extra bytes of reading the prompt."""
    moment = read_again_bytes(shapes, precision, placed) + unfused_bytes(shapes, precision, placed)
    if context is None:
        return WORKING_BYTES, moment
    activations = context.activations.num_bytes(precision.dtype)
    return WORKING_BYTES, _heap_bytes(shapes, precision, activations, context.prompt_tokens, placed) + moment


def scoring_bytes(shapes: Shapes, precision: Precision, context: ContextSize | None, placed: Mapping[str, str]) -> int:
    """Temporary bytes of scoring a text, beside weights and working memory.

    A window's activations and logits, and sums over the vocabulary. Or, where it is larger, a quantized model's largest
    layer beside the checkpoint's.
    """
    if context is None or not context.scored.elements:
        return 0
    # Four tables of sums, four of the rounding floor's, and the rows that are kept or compared with.
    sums = (5 * ROWS + 4 * ROUNDED_ROWS) * shapes.vocabulary * torch.float32.itemsize
    if main_device(placed.values()) == CPU:
        sums = round(_HEAP_FACTOR * sums)
    window = context.scored.num_bytes(precision.dtype)
    moment = read_again_bytes(shapes, precision, placed) + unfused_bytes(shapes, precision, placed)
    needed = _heap_bytes(shapes, precision, window, WINDOW, placed) + sums + moment
    layers = [shapes.linear_layers[name] for name in converted_layers(shapes, precision, placed)]
    return max(needed, max((rows * columns for rows, columns in layers), default=0) * _MEASURING_BYTES)


def _heap_bytes(shapes: Shapes, precision: Precision, activations: int, tokens: int, placed: Mapping[str, str]) -> int:
    """Heap bytes of the activations, until it is trimmed, while `tokens` tokens are read at once."""
    factor = _HEAP_FACTOR
    if precision.quantization is not None:
        quantizer = backend(precision.quantization)
        widest = max(shapes.linear_layers[name][0] for name in converted_layers(shapes, precision, placed))
        activations += quantizer.scratch_bytes(tokens, widest)
        factor = quantizer.gaps_factor(tokens, widest)
    if main_device(placed.values()) != CPU:
        factor = 1.0
    return round(factor * activations)


def estimated(
    shapes: Shapes,
    precision: Precision,
    *,
    placement: Placement,
    limits: Mapping[str, int],
    checkpoint: Checkpoint,
    note: str = "",
    context: ContextSize | None,
    unknown: str = "",
    runtime_bytes: int,
    shared_bytes: int = 0,
) -> Estimate:
    """The whole estimate, including what forbids the precision. `note` becomes part of the caution.

    `runtime_bytes`: of the libraries on the CPU. What CUDA's libraries take in RAM has not been measured, so it is
    unknown with a GPU.
    """
    try:
        placed = device_map(shapes, precision.checked(), placement, limits)
        weights = weights_by_module(shapes, precision, placed)
    except PlaygroundError as error:
        return Estimate(precision=precision.name, problem=error.info)
    working, prompt_extra = working_bytes(shapes, precision, context, placed)
    on_gpu = main_device(placed.values()) != CPU
    return Estimate(
        precision=precision.name,
        by_kind=sum(weights.values(), WeightKinds()),
        kv_cache_bytes=None if context is None else context.cache.num_bytes(precision.dtype),
        unknown=unknown,
        working_bytes=working,
        prompt_extra_bytes=prompt_extra,
        scoring_extra_bytes=scoring_bytes(shapes, precision, context, placed),
        load_extra_bytes=load_extra_bytes(shapes, precision, checkpoint, placed),
        vram_load_extra_bytes=quantizing_bytes(shapes, precision, placed) if on_gpu else 0,
        runtime_bytes=None if on_gpu else runtime_bytes,
        least_runtime_bytes=runtime_bytes,
        shared_bytes=shared_bytes,
        device_map=placed,
        by_device=by_device(weights, placed),
        caution=" ".join(filter(None, (caution(shapes, precision, placed, limits), note))),
    )


def known_context(sizes: ContextSizes, prompt_tokens: int | None, tokens: int) -> tuple[ContextSize | None, str]:
    """The memory of a text, or None and the reason why it is unknown."""
    try:
        return sizes.of(prompt_tokens, tokens), ""
    except CannotRunError as error:
        return None, str(error)
