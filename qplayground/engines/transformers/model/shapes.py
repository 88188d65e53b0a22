"""A model without its weights: its modules and shapes, built from the config on the meta device."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.precision import Precision
from qplayground.engines.transformers.failures.limits import TookTooLongError, time_limit
from qplayground.engines.transformers.model.config import (
    BUILD_LIMIT_S,
    broken_config,
    endless,
    read_model_config,
)
from qplayground.engines.transformers.model.ties import differing_ties
from qplayground.engines.transformers.model.tracing import FEW, CannotRunError, LayerUse, Watch, run
from qplayground.engines.transformers.quantizers.registry import backend

_RESERVED_POSITIONS = 8
"""Some tables have a few entries that are no positions."""


class Shapes:
    """The model that transformers would build from a config. Takes no memory for weights, and milliseconds.

    `path`: the checkpoint's folder, which can store weights separately that the config says are tied.
    `asked_for_more`: config.json requested other attention or outputs, which it does not get.
    """

    def __init__(self, config: PretrainedConfig, path: Path | None = None, *, asked_for_more: bool = False) -> None:
        self.config = config
        self.asked_for_more = asked_for_more
        self._path = path
        self._differing: frozenset[str] | None = None
        self._skeletons: dict[int, PreTrainedModel] = {}
        self._default_skips: list[str] = []
        self._converted: dict[tuple[object, ...], tuple[str, ...]] = {}

    @classmethod
    def read(cls, path: Path) -> "Shapes":
        """Read a folder's config. Raises PlaygroundError if it cannot be read, or is not a causal language model's."""
        config, asked = read_model_config(path)
        shapes = cls(config, path, asked_for_more=asked)
        shapes.skeleton(Dtype.BFLOAT16)  # a model that cannot be built fails now
        return shapes

    def skeleton(self, dtype: Dtype) -> PreTrainedModel:
        """The model built in a dtype of that width, because buffers can depend on it."""
        if dtype.itemsize not in self._skeletons:
            skeleton = _build(self.config, getattr(torch, dtype))
            self._default_skips = [
                str(name) for name in get_keys_to_not_convert(skeleton)
            ]  # as a load does, before tying
            for name in self._untied(skeleton):
                del skeleton.all_tied_weights_keys[name]
            skeleton.tie_weights(recompute_mapping=False)
            _widen(skeleton, getattr(torch, dtype))
            self._skeletons[dtype.itemsize] = skeleton
        return self._skeletons[dtype.itemsize]

    def _untied(self, skeleton: PreTrainedModel) -> frozenset[str]:
        if self._path is None:
            return frozenset()
        if self._differing is None:
            self._differing = differing_ties(self._path, skeleton)
        return self._differing

    @cached_property
    def parameters(self) -> int:
        """Number of parameters; tied weights count once."""
        return sum(parameter.numel() for parameter in self.skeleton(Dtype.BFLOAT16).parameters())

    @property
    def vocabulary(self) -> int:
        """Number of logits per token."""
        skeleton = self.skeleton(Dtype.BFLOAT16)
        declared = skeleton.config.get_text_config().vocab_size
        return int(getattr(skeleton.get_output_embeddings(), "out_features", declared))

    @cached_property
    def default_skips(self) -> list[str]:
        """Modules that transformers never quantizes.

        These are tied ones, the output head, the last one, and those that its code keeps in float32.
        """
        skeleton = self.skeleton(Dtype.BFLOAT16)
        return [*self._default_skips, *sorted(skeleton._keep_in_fp32_modules or ())]

    @cached_property
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Layers that a quantizer may convert, with the shape of their weight as (out, in) features."""
        return {
            name: (module.nf, module.nx) if isinstance(module, Conv1D) else (module.out_features, module.in_features)
            for name, module in self._linear_modules.items()
        }

    @cached_property
    def linear_names(self) -> tuple[str, ...]:
        """All linear layers, including those that no quantizer converts."""
        modules = self.skeleton(Dtype.BFLOAT16).named_modules()
        return tuple(name for name, module in modules if isinstance(module, (nn.Linear, Conv1D)))

    @cached_property
    def _linear_modules(self) -> dict[str, Any]:
        return _linear_modules(self.skeleton(Dtype.BFLOAT16))

    @property
    def first_output(self) -> Mapping[str, Any]:
        """Output for FEW tokens. Raises CannotRunError."""
        return self._first_run.output

    @property
    def running_skeleton(self) -> PreTrainedModel:
        """The skeleton whose code runs. Raises CannotRunError.

        Built in bfloat16, or in float32 where the code mixes the two types and runs only in float32.
        """
        return self._first_run.skeleton

    @cached_property
    def layer_use(self) -> LayerUse:
        """How the model's code uses its linear layers. Where it cannot be run, all are assumed to be called."""
        try:
            return self._first_run.use
        except CannotRunError:
            return LayerUse(frozenset(self.linear_layers))

    def position_limit(self, made_for: int | None) -> int | None:
        """Longest text in tokens that the model can take; None for any length. `made_for`: the length it was made for.

        Positions from a table end with it; computed positions do not.
        """
        made_for = made_for or getattr(self.config.get_text_config(), "max_position_embeddings", None)
        if not isinstance(made_for, int) or made_for < 1:  # XLNet's says -1
            return None
        try:
            sizes = self._first_run.table_sizes
        except CannotRunError:
            return made_for
        return made_for if any(made_for <= size <= made_for + _RESERVED_POSITIONS for size in sizes) else None

    @cached_property
    def _first_run(self) -> "_FirstRun":
        try:
            return _first_run(self.skeleton(Dtype.BFLOAT16))
        except CannotRunError as error:
            try:
                return _first_run(self.skeleton(Dtype.FLOAT32))
            except CannotRunError:
                raise error from None

    def converted_layers(self, precision: Precision) -> tuple[str, ...]:
        """Linear layers that the precision asks to convert; at least one where it is quantized.

        Raises PlaygroundError: BAD_PRECISION for a skipped module that this model does not have, NOT_QUANTIZED where
        nothing would be converted.
        """
        if not precision.is_quantized:
            return ()
        key = (type(precision.quantization), precision.skip_modules)
        if key not in self._converted:
            self._converted[key] = self._find_converted(precision)
        return self._converted[key]

    def _find_converted(self, precision: Precision) -> tuple[str, ...]:
        modules = [name for name, _ in self.skeleton(Dtype.BFLOAT16).named_modules() if name]
        for pattern in precision.skip_modules:
            if all(should_convert_module(name, [pattern]) for name in modules):
                raise fail(
                    ErrorCode.BAD_PRECISION,
                    f"{precision.label} skips {pattern}, which is the name or ending of no module of this model.",
                    f"Give the name of a layer or its ending; a layer of this model is {self._example()}.",
                )
        skips = [*self.default_skips, *precision.skip_modules]
        assert precision.quantization is not None
        quantizer = backend(precision.quantization)
        known = [name for name, module in self._linear_modules.items() if quantizer.converts(module)]
        converted = tuple(name for name in known if should_convert_module(name, skips))
        if not converted:
            raise self._nothing_to_convert(precision, known)
        return converted

    def _nothing_to_convert(self, precision: Precision, known: Sequence[str]) -> PlaygroundError:
        assert precision.quantization is not None
        if any(should_convert_module(name, self.default_skips) for name in known):
            hint = "Skip fewer modules."
            return fail(ErrorCode.NOT_QUANTIZED, f"{precision.label} would skip every linear layer.", hint)
        architecture = type(self.skeleton(Dtype.BFLOAT16)).__name__
        return fail(
            ErrorCode.NOT_QUANTIZED,
            f"{precision.label} would convert nothing: {architecture} has no layers that "
            f"{precision.quantization.library} knows.",
            "Compare it in fp32, bf16 and fp16, or pick another model.",
        )

    def _example(self) -> str:
        """A layer that is not skipped by default."""
        return next((name for name in self.linear_layers if should_convert_module(name, self.default_skips)), "…")


class _FirstRun(NamedTuple):
    """Result of running a skeleton on FEW tokens."""

    skeleton: PreTrainedModel
    output: Mapping[str, Any]
    use: LayerUse
    table_sizes: frozenset[int]


def _first_run(skeleton: PreTrainedModel) -> _FirstRun:
    with Watch(skeleton, _linear_modules(skeleton)) as watch:
        output, _ = run(skeleton, FEW)
    return _FirstRun(skeleton, output, watch.use, frozenset(watch.table_sizes))


def _linear_modules(skeleton: PreTrainedModel) -> dict[str, Any]:
    modules = skeleton.named_modules()
    return {name: module for name, module in modules if type(module) is nn.Linear or isinstance(module, Conv1D)}


def _build(config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    try:
        with time_limit(BUILD_LIMIT_S), torch.device("meta"), no_init_weights():
            return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    except TookTooLongError as error:
        raise endless() from error
    except Exception as error:  # a config can be well-formed and still name an activation that does not exist
        raise broken_config(error) from error


def _widen(skeleton: PreTrainedModel, dtype: torch.dtype) -> None:
    """Cast to float32 what a load keeps in float32 in all narrower models, so that states computed from it match.

    What is widened only for float16 is left to `prediction`: one skeleton serves both 16-bit types.
    """
    globs = skeleton._keep_in_fp32_modules_strict if dtype is not torch.float32 else None
    if not globs:
        return
    named = re.compile("|".join(glob.replace("*", ".*") for glob in globs))
    for name, tensor in [*skeleton.named_parameters(), *skeleton.named_buffers()]:
        if tensor.is_floating_point() and named.search(name):
            tensor.data = tensor.data.float()
