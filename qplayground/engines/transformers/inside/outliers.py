"""LLM.int8() on a layer's inputs from a prompt: which dimensions are outliers, and what 16 bits for them bring."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, fail
from qplayground.core.inside import LayerInputs, QuantizationParams, ThresholdTrial
from qplayground.core.messages.commands import Load
from qplayground.core.messages.inside import CaptureInputs
from qplayground.core.placement import CPU, Placement
from qplayground.core.precision import Precision
from qplayground.engines.transformers.inside.bands import bands
from qplayground.engines.transformers.inside.outline import quantized_modules
from qplayground.engines.transformers.inside.quantized import quantize
from qplayground.engines.transformers.inside.source import Source, SourceWeight, read_weight
from qplayground.engines.transformers.inside.values import floats
from qplayground.engines.transformers.loading.load import load_model
from qplayground.engines.transformers.progress import OnPhase, OnProgress
from qplayground.engines.transformers.quantizers.registry import BACKENDS
from qplayground.engines.transformers.text.prompt import read_prompt

READING = "Reading the prompt"
MOST_TOKENS = 256
"""Of a longer prompt, only the beginning is used."""
_SPLITTER = next(family for family in BACKENDS if family.splits_outliers)
_LEAST_REPEATS = 5
_TIMED_S = 0.3


@dataclass(frozen=True)
class CapturedInputs:
    """Inputs of each linear layer that gets quantized, [tokens, dimensions], in the model's dtype."""

    dtype: Dtype
    tokens: int
    by_module: dict[str, torch.Tensor]

    @property
    def layers(self) -> tuple[LayerInputs, ...]:
        """The largest magnitude of each dimension, for each layer."""
        return tuple(
            LayerInputs(module=name, magnitudes=floats(inputs.abs().amax(0))) for name, inputs in self.by_module.items()
        )


def capture(command: CaptureInputs, source: Source, on_phase: OnPhase, on_progress: OnProgress) -> CapturedInputs:
    """Load the model on the CPU and run the beginning of the prompt. The model is freed on return.

    `on_progress` reports the load in bytes, then, labelled READING, the number of layers reached and their total.
    Raises what `load_model` raises, and PlaygroundError(NOT_QUANTIZED) for a model without layers to quantize.
    """
    precision = Precision(name=str(command.dtype), label=str(command.dtype), dtype=command.dtype)
    load = Load(
        id=command.id, path=command.path, precision=precision, placement=Placement(device=CPU), request=command.request
    )
    wanted = frozenset(quantized_modules(source.shapes))
    loaded = load_model(load, on_phase, on_progress)
    ids = read_prompt(loaded.tokenizer, command.request, loaded.position_limit).ids[:MOST_TOKENS]
    keeper = _Keeper(lambda reached: on_progress(READING, reached, len(wanted)))
    on_progress(READING, 0, len(wanted))
    hooks = [
        module.register_forward_pre_hook(keeper.hook(name))
        for name, module in loaded.model.named_modules()
        if name in wanted
    ]
    try:
        with torch.no_grad():
            loaded.model(input_ids=torch.tensor([ids]), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return CapturedInputs(command.dtype, len(ids), keeper.inputs)


class _Keeper:
    """Copies the inputs of layers. Layers that get the same tensor share one copy."""

    def __init__(self, on_reached: Callable[[int], None]) -> None:
        self._on_reached = on_reached
        self.inputs: dict[str, torch.Tensor] = {}
        self._last: torch.Tensor | None = None
        self._copy = torch.empty(0)

    def hook(self, name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def keep(_module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            if given[0] is not self._last:
                self._last = given[0]
                self._copy = given[0].detach().reshape(-1, given[0].shape[-1]).clone()
            self.inputs.setdefault(name, self._copy)
            self._on_reached(len(self.inputs))

        return keep


class ThresholdBench:
    """Computes one layer at a time as LLM.int8() does. Keeps the last layer's weight and exact output."""

    def __init__(self, source: Source, captured: CapturedInputs) -> None:
        self._source = source
        self._captured = captured
        self._layer: _Int8Layer | None = None

    @torch.no_grad()  # not inference mode, which is per thread: several threads write bands
    def attempt(
        self, module: str, threshold: float, should_stop: Callable[[], bool] = lambda: False
    ) -> ThresholdTrial | None:
        """Compute that layer with that threshold, and without outliers, in turns. None if it was stopped.

        Raises PlaygroundError: BAD_SETTINGS for an invalid threshold or a layer that the prompt did not reach. For the
        weight, raises what `Source.weight` and `quantized.quantize` raise.
        """
        if not 0 <= threshold < 1e6:
            message = f"The outlier threshold must be 0 or more, not {threshold:g}."
            raise fail(ErrorCode.BAD_SETTINGS, message, "Change it and try again.")
        inputs = self._captured.by_module.get(module)
        if inputs is None:
            raise fail(ErrorCode.BAD_SETTINGS, f"The prompt did not reach {module}.", "Choose another layer.")
        if self._layer is None or self._layer.module != module:
            self._layer = None  # free the previous one first
            self._layer = _Int8Layer.read(self._source, module, inputs, self._captured.dtype)
        layer = self._layer
        if should_stop():
            return None
        output, columns = layer.forward(inputs, threshold)
        error = float((output.float() - layer.exact).norm())
        size = float(layer.exact.norm())
        forwards = (lambda: layer.forward(inputs, threshold)), (lambda: layer.forward(inputs, 0.0))
        seconds, without = _timed(*forwards, should_stop)
        if should_stop():
            return None
        return ThresholdTrial(
            module=module,
            threshold=threshold,
            columns=columns,
            of_columns=inputs.shape[-1],
            extra_bytes=columns * layer.exact.shape[-1] * inputs.element_size(),
            relative_error=error / size if size else 0.0,
            seconds=statistics.median(seconds),
            seconds_without=statistics.median(without),
            seconds_range=(min(seconds), max(seconds)),
            without_range=(min(without), max(without)),
            repeats=len(seconds),
        )


@dataclass(frozen=True)
class _Int8Layer:
    """One quantized layer. `exact`: the output in float32 from the checkpoint's weight, [tokens, out features]."""

    module: str
    codes: torch.Tensor
    absmax: torch.Tensor
    bias: torch.Tensor | None
    exact: torch.Tensor

    @classmethod
    def read(cls, source: Source, module: str, inputs: torch.Tensor, dtype: Dtype) -> "_Int8Layer":
        if not source.is_current:
            message = "The model's files have changed since the prompt was run."
            raise fail(ErrorCode.BROKEN_WEIGHTS, message, "Run the prompt again.")
        stored = source.weight(module)
        weight = read_weight(source, module, stored)
        made = quantize(weight, QuantizationParams(method=_SPLITTER.methods[0].name, dtype=dtype), stored.name)
        held = source.find(f"{module}.bias")
        bias = None if held is None else held.read().clone()
        exact = _exact(weight, inputs, None if bias is None else bias.float())
        if bias is not None:
            bias = bias.to(inputs.dtype)
        return cls(module, made.codes.view(made.rows, made.columns), made.scales.used, bias, exact)

    def forward(self, inputs: torch.Tensor, threshold: float) -> tuple[torch.Tensor, int]:
        """The library's own output, and how many columns it treated as outliers."""
        return BACKENDS[_SPLITTER].split_product(self.codes, self.absmax, inputs, threshold, self.bias)


def _exact(weight: SourceWeight, inputs: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    wide = inputs.float()
    parts = []
    for first, last in bands(weight.rows * weight.columns, weight.columns):
        rows = weight.flat(first, last).float().view(-1, weight.columns)
        parts.append(functional.linear(wide, rows))
    output = torch.cat(parts, dim=-1)
    return output if bias is None else output + bias


def _timed(
    one: Callable[[], object], other: Callable[[], object], should_stop: Callable[[], bool]
) -> tuple[list[float], list[float]]:
    """Seconds of each, run in turns, for about 0.3 s and at least five times, unless stopped."""
    found: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    while len(found[0]) < _LEAST_REPEATS or time.perf_counter() - began < _TIMED_S:
        if should_stop():
            break
        for samples, run in zip(found, (one, other), strict=True):
            start = time.perf_counter()
            run()
            samples.append(time.perf_counter() - start)
    return found
