"""Lists a model's modules, what they take in each precision, and which of them get quantized."""

import contextlib
from collections import Counter
from collections.abc import Iterable

from torch import nn
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.quantizers_utils import should_convert_module

from qplayground.core.errors import PlaygroundError
from qplayground.core.inside import Kept, ModelOutline, ModuleOutline
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers.installed import missing
from qplayground.engines.transformers.inside.source import Source, StoredTensor
from qplayground.engines.transformers.inside.stored import is_stored_quantized, method_name
from qplayground.engines.transformers.model.conversion import conversion
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.prediction.weights import predicted_weights
from qplayground.engines.transformers.quantizers.registry import backend


def outline(source: Source, precisions: Iterable[Precision]) -> ModelOutline:
    """Every module with tensors of its own, without their values.

    Bytes are those of the stored layout, before some CPUs repack quantized weights in the first forward. A checkpoint
    that was saved quantized has neither bytes nor reasons. Raises PlaygroundError for a config that cannot be read.
    """
    shapes = source.shapes
    usable = tuple(precision for precision in precisions if missing(precision.quantization) is None)
    compared = () if source.quantized_by else usable
    kept = {precision.name: kept_modules(shapes, precision) for precision in compared if precision.is_quantized}
    held = {precision.name: _held(shapes, precision, kept.get(precision.name, {})) for precision in compared}
    stored = _by_module(source)
    modules = []
    seen: set[int] = set()
    for name, module in source.skeleton.named_modules():
        own = [each for each in (*module._parameters.values(), *module._buffers.values()) if each is not None]
        if not own or not name:
            continue
        weight = source.find(f"{name}.weight")
        is_quantized = is_stored_quantized(source, name)
        counted = [each for each in module._parameters.values() if each is not None and id(each) not in seen]
        seen.update(map(id, counted))
        modules.append(
            ModuleOutline(
                name=name,
                kind=type(module).__name__,
                shape=tuple(module.weight.shape) if is_quantized else () if weight is None else weight.info.shape,
                tensor="" if weight is None else weight.name,
                stored_dtype="" if weight is None else weight.dtype,
                stored_bytes=sum(each.num_bytes for each in stored.get(name, ())),
                is_quantized=is_quantized,
                parameters=sum(each.numel() for each in counted),
                bytes={precision: sums.get(name, 0) for precision, sums in held.items()},
                kept={precision: reasons[name] for precision, reasons in kept.items() if name in reasons},
            )
        )
    return ModelOutline(
        modules=tuple(modules), quantized_by=method_name(source), suggested=_suggested(source, modules, kept.values())
    )


def kept_modules(shapes: Shapes, precision: Precision) -> dict[str, Kept]:
    """The modules that a quantized precision leaves as they are on the CPU, and why.

    Like `conversion`, but it never fails.
    """
    assert precision.quantization is not None
    quantizer = backend(precision.quantization)
    modules = dict(shapes.skeleton(precision.dtype).named_modules())
    shared = Counter(id(each._parameters.get("weight")) for each in modules.values())
    found = {}
    for name, module in modules.items():
        if not quantizer.converts(module):
            is_linear = isinstance(module, (nn.Linear, Conv1D))
            found[name] = Kept.UNKNOWN_CLASS if is_linear else Kept.NOT_LINEAR
        elif not should_convert_module(name, shapes.default_skips):
            tied = shared[id(module._parameters.get("weight"))] > 1
            found[name] = Kept.TIED if tied else Kept.OUTPUT_HEAD
        elif precision.skip_modules and not should_convert_module(
            name, [*shapes.default_skips, *precision.skip_modules]
        ):
            found[name] = Kept.SKIPPED
    with contextlib.suppress(PlaygroundError):  # nothing would be converted at all
        found |= dict.fromkeys(conversion(shapes, precision, on_cpu=True).left, Kept.UNFIT)
    return found


def quantized_modules(shapes: Shapes) -> tuple[str, ...]:
    """Linear layers that a ready precision quantizes, in the order of the forward.

    Raises PlaygroundError(NOT_QUANTIZED) where there are none.
    """
    return conversion(shapes, _any_quantized(), on_cpu=True).converted


def _any_quantized() -> Precision:
    return next(ready for ready in READY_PRECISIONS if ready.is_quantized)


def _held(shapes: Shapes, precision: Precision, kept: dict[str, Kept]) -> dict[str, int]:
    converted = {name for name in shapes.linear_layers if name not in kept} if precision.is_quantized else ()
    sums = predicted_weights(shapes, converted, precision, repacks=False)
    return {name: kinds.total for name, kinds in sums.items()}


def _by_module(source: Source) -> dict[str, list[StoredTensor]]:
    """The checkpoint's tensors, by the module that they are loaded into."""
    names = {name for name, _ in source.skeleton.named_modules() if name}
    found: dict[str, list[StoredTensor]] = {}
    short = {name.partition(".")[2]: name for name in names if "." in name}
    for tensor, held in source.tensors.items():
        owner = source.loaded_as[tensor]
        while owner := owner.rpartition(".")[0]:
            if owner in names or owner in short:
                found.setdefault(owner if owner in names else short[owner], []).append(held)
                break
    return found


def _suggested(source: Source, modules: list[ModuleOutline], kept: Iterable[dict[str, Kept]]) -> str:
    reasons = list(kept)
    if source.quantized_by:
        worth = [each.name for each in modules if is_stored_quantized(source, each.name)]
    else:
        if not reasons:
            reasons = [kept_modules(source.shapes, _any_quantized())]
        worth = [each.name for each in modules if each.is_matrix and any(each.name not in one for one in reasons)]
    matrices = worth or [each.name for each in modules if each.is_matrix]
    return matrices[len(matrices) // 2] if matrices else ""
