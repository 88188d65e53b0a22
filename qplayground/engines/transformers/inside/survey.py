"""Measures the error of each set of parameters on each layer of a model."""

from collections.abc import Callable, Iterator

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.inside import LayerRow, LeftOut, QuantizationParams
from qplayground.engines.transformers.inside.outline import quantized_modules
from qplayground.engines.transformers.inside.quantized import figures, quantize
from qplayground.engines.transformers.inside.source import Source, read_weight
from qplayground.engines.transformers.inside.stored import is_stored_quantized, method_name
from qplayground.engines.transformers.inside.values import summarize

OnDone = Callable[[int, int], None]


def measure_layers(
    source: Source,
    modules: tuple[str, ...],
    params: tuple[QuantizationParams, ...],
    on_done: OnDone,
    should_stop: Callable[[], bool],
) -> Iterator[LayerRow | LeftOut]:
    """Measure each layer with each set of parameters, reading it once. Of equivalent sets, only the first is used.

    Without `modules`, measures all layers that get quantized. `on_done` gets the number of layers done, and the total.
    Raises PlaygroundError: BAD_SETTINGS for parameters that are not offered or a module that the model does not have,
    ALREADY_QUANTIZED where everything requested is, NOT_QUANTIZED where nothing would be quantized.
    """
    chosen = tuple(dict.fromkeys(each.checked() for each in params))
    for name in modules:
        source.module(name)
    if source.quantized_by and all(is_stored_quantized(source, name) for name in modules):
        raise fail(
            ErrorCode.ALREADY_QUANTIZED,
            f"These weights were quantized before ({method_name(source)}): without the original ones there is no error "
            "to measure.",
            "Choose the original model.",
        )
    names = modules or quantized_modules(source.shapes)
    for done, name in enumerate(names):
        on_done(done, len(names))
        if should_stop():
            return
        yield from _of_layer(source, name, chosen, should_stop)
    on_done(len(names), len(names))


def _of_layer(
    source: Source, module: str, params: tuple[QuantizationParams, ...], should_stop: Callable[[], bool]
) -> Iterator[LayerRow | LeftOut]:
    try:
        stored = source.weight(module)
        weight = read_weight(source, module, stored)
        summary = summarize(weight, stored.name)
    except PlaygroundError as error:
        yield LeftOut(module, error.info.message)
        return
    for each in params:
        if should_stop():
            return
        try:
            made = quantize(weight, each, stored.name)
        except PlaygroundError as error:
            yield LeftOut(module, f"{each.label}: {error.info.message}")
        else:
            yield LayerRow(module=module, params=each, figures=figures(weight, summary.square_sum, made))
