"""Which layers a precision converts on a device, which requested layers stay as they are, and why."""

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from transformers.quantizers.quantizers_utils import should_convert_module

from qplayground.core.errors import ErrorCode, fail
from qplayground.core.precision import Precision
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.quantizers.base import Layer
from qplayground.engines.transformers.quantizers.kernels import obstacle
from qplayground.engines.transformers.quantizers.registry import backend

_USED_PAST = "the model's code uses their weights without calling them"
_EVERY_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


class Conversion(NamedTuple):
    """Layers by name. `left`: the layers that stay, each with its reason. `cautions`: sentences for the user.

    `skips`: transformers' list of modules to leave alone; empty where its own list does.
    """

    converted: tuple[str, ...] = ()
    left: dict[str, str] = {}
    skips: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


_KNOWN: WeakKeyDictionary[Shapes, dict[object, Conversion]] = WeakKeyDictionary()
"""Results so far, cached because each estimate asks several times."""


def conversion(shapes: Shapes, precision: Precision, *, on_cpu: bool) -> Conversion:
    """Find out which of the requested layers are converted. Kernels of a GPU are not tried here.

    Raises PlaygroundError as `Shapes.converted_layers` does, and NOT_QUANTIZED where all layers would stay as they are.
    """
    if precision.quantization is None:
        return Conversion()
    key = (precision.quantization, precision.dtype, precision.skip_modules, on_cpu)
    known = _KNOWN.setdefault(shapes, {})
    if key not in known:
        known[key] = _conversion(shapes, precision, on_cpu=on_cpu)
    return known[key]


def _conversion(shapes: Shapes, precision: Precision, *, on_cpu: bool) -> Conversion:
    asked = shapes.converted_layers(precision)
    left = {name: reason for name in asked if (reason := _obstacle(shapes, name, precision, on_cpu=on_cpu))}
    if len(left) == len(asked):
        name, reason = next(iter(left.items()))
        raise fail(
            ErrorCode.NOT_QUANTIZED,
            f"{precision.label} would convert nothing: {reason}. {name} has {_layer(shapes, name).text}.",
            "Compare it in bf16 and fp16."
            if reason == _USED_PAST
            else "Compare it in bf16 and fp16, or try another quantizer.",
        )
    assert precision.quantization is not None
    converted = tuple(name for name in asked if name not in left)
    own = [*shapes.default_skips, *precision.skip_modules]
    quantizer = backend(precision.quantization)
    skips: tuple[str, ...] = ()
    if quantizer.lists_skips:
        skips = (*own, *(name for name in shapes.linear_names if name not in converted))
    elif left or precision.skip_modules:
        skips = (*own, *_patterns(left, shapes.linear_layers, own))
    cautions = tuple(_cautions(shapes, precision, len(asked), left))
    return Conversion(converted, left, skips, cautions)


def _obstacle(shapes: Shapes, name: str, precision: Precision, *, on_cpu: bool) -> str:
    assert precision.quantization is not None
    if name in shapes.layer_use.past:
        return _USED_PAST
    if not on_cpu or name not in shapes.layer_use.ran:  # what never runs cannot go wrong
        return ""
    return obstacle(_layer(shapes, name), precision.quantization, precision.dtype)


def _layer(shapes: Shapes, name: str) -> Layer:
    return Layer(*shapes.linear_layers[name], shapes.layer_use.dimensions.get(name, 0))


def _cautions(shapes: Shapes, precision: Precision, asked: int, left: dict[str, str]) -> Iterable[str]:
    for reason in dict.fromkeys(left.values()):
        names = [name for name, each in left.items() if each == reason]
        yield (
            f"{len(names)} of {asked} layers stay in {precision.dtype}: {reason} ({names[0]}, with "
            f"{_layer(shapes, names[0]).text}, for one)."
        )
    rescaled = shapes.layer_use.rescaled
    assert precision.quantization is not None
    again = backend(precision.quantization).rescaled().options
    if rescaled and again != precision.quantization:
        yield (
            f"{len(rescaled)} of {asked} layers are {again.name}: the model's code scales their weights, and "
            "transformers quantizes them again in that way."
        )


def _patterns(left: Collection[str], layers: Collection[str], skips: list[str]) -> list[str]:
    """Names for transformers' list that leave exactly these layers alone. Similar layers share one pattern."""
    groups: dict[str, list[str]] = {}
    for name in left:
        groups.setdefault(_EVERY_NUMBER.sub("*", name), []).append(name)
    kept = {name for name in layers if not should_convert_module(name, skips)}
    found: list[str] = []
    for pattern, names in groups.items():
        matched = {name for name in layers if not should_convert_module(name, [pattern])}
        found += [pattern] if matched <= {*left, *kept} and matched >= set(names) else names
    return found
