"""A model without its weights: the modules and shapes that its config stands for, on the meta device."""

from functools import cached_property
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from qplayground.catalog.config import DECODERS_ONLY_BY_CONFIG
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.precision import Dtype, Precision
from qplayground.engine.config_errors import config_sentence
from qplayground.engine.limits import TookTooLongError, time_limit

BUILD_LIMIT_S = 30.0
"""Without weights the largest models are built in a second or two."""
_OWN_ATTENTION = (None, "eager", "sdpa")


class Shapes:
    """What transformers would build from a config. Takes no memory for weights, and milliseconds."""

    def __init__(self, config: PretrainedConfig) -> None:
        self.config = config
        self._skeletons: dict[int, PreTrainedModel] = {}
        self._converted: dict[tuple[str, ...], tuple[str, ...]] = {}

    @classmethod
    def read(cls, path: Path) -> "Shapes":
        """Raises PlaygroundError for a config that cannot be read, or is not a causal language model's."""
        shapes = cls(_read_config(path))
        shapes.skeleton(Dtype.BFLOAT16)  # what cannot be built is found now
        return shapes

    def skeleton(self, dtype: Dtype) -> PreTrainedModel:
        """The model built in a type of that width; buffers can depend on it."""
        if dtype.itemsize not in self._skeletons:
            self._skeletons[dtype.itemsize] = _build(self.config, getattr(torch, dtype))
        return self._skeletons[dtype.itemsize]

    @cached_property
    def parameters(self) -> int:
        """How many numbers the model has; what is tied counts once."""
        return sum(parameter.numel() for parameter in self.skeleton(Dtype.BFLOAT16).parameters())

    @property
    def vocabulary(self) -> int:
        """How many logits a token gets."""
        skeleton = self.skeleton(Dtype.BFLOAT16)
        declared = skeleton.config.get_text_config().vocab_size
        return int(getattr(skeleton.get_output_embeddings(), "out_features", declared))

    @cached_property
    def default_skips(self) -> list[str]:
        """The modules that transformers never quantizes: tied ones, the output head, the last."""
        return [str(name) for name in get_keys_to_not_convert(self.skeleton(Dtype.BFLOAT16))]

    @cached_property
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """The layers that bitsandbytes can convert, with the shape of their weight as (out, in) features."""
        return {
            name: (module.nf, module.nx) if isinstance(module, Conv1D) else (module.out_features, module.in_features)
            for name, module in self.skeleton(Dtype.BFLOAT16).named_modules()
            if type(module) is nn.Linear or isinstance(module, Conv1D)
        }

    def converted_layers(self, precision: Precision) -> tuple[str, ...]:
        """The linear layers that the recipe asks to be converted, at least one of a quantized precision.

        Raises PlaygroundError: BAD_PRECISION for a skipped module that this model does not have, NOT_QUANTIZED where
        nothing would be converted.
        """
        if not precision.is_quantized:
            return ()
        if precision.skip_modules not in self._converted:
            self._converted[precision.skip_modules] = self._find_converted(precision)
        return self._converted[precision.skip_modules]

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
        converted = tuple(name for name in self.linear_layers if should_convert_module(name, skips))
        if not converted:
            raise self._nothing_to_convert(precision)
        return converted

    def _nothing_to_convert(self, precision: Precision) -> PlaygroundError:
        if any(should_convert_module(name, self.default_skips) for name in self.linear_layers):
            hint = "Skip fewer modules."
            return fail(ErrorCode.NOT_QUANTIZED, f"{precision.label} would skip every linear layer.", hint)
        architecture = type(self.skeleton(Dtype.BFLOAT16)).__name__
        return fail(
            ErrorCode.NOT_QUANTIZED,
            f"{precision.label} would convert nothing: {architecture} has no layers that bitsandbytes knows.",
            "Compare it in fp32, bf16 and fp16, or pick another model.",
        )

    def _example(self) -> str:
        """A layer that is not skipped anyway."""
        return next((name for name in self.linear_layers if should_convert_module(name, self.default_skips)), "…")


def causal_architectures() -> tuple[str, ...]:
    """The class names that transformers can load as causal language models, without those that only might be one."""
    return tuple(sorted({str(name) for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()}))


def wants_code(error: Exception) -> bool:
    """Whether that is transformers' refusal to run a model's own code."""
    return isinstance(error, ValueError) and "trust_remote_code" in str(error)


def remote_code(error: Exception) -> PlaygroundError:
    """The same for a person."""
    return fail(
        ErrorCode.REMOTE_CODE,
        "This model brings Python code of its own, which is never run here.",
        "Pick a model whose architecture is part of transformers.",
        str(error),
    )


def _read_config(path: Path) -> PretrainedConfig:
    try:
        with time_limit(BUILD_LIMIT_S):
            config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        _drop_requests(config)
    except TookTooLongError as error:
        raise _endless() from error
    except Exception as error:  # transformers 5 validates with huggingface_hub's own exception types
        raise (remote_code(error) if wants_code(error) else _broken_config(error)) from error
    if not _is_causal(config):
        raise fail(
            ErrorCode.NOT_CAUSAL,
            f"A {config.model_type} model is not a causal language model, so it cannot continue a prompt.",
            "Pick a model made for text generation.",
        )
    return config


def _is_causal(config: PretrainedConfig) -> bool:
    """Whether transformers has a class that continues text with it, and it is not set up as something else.

    `is_decoder` alone says nothing: GPT-NeoX has it false.
    """
    made_by = str(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type, ""))
    if made_by in DECODERS_ONLY_BY_CONFIG and not getattr(config, "is_decoder", False):
        return False
    return bool(made_by) and not getattr(config, "is_encoder_decoder", False)


def _build(config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    try:
        with time_limit(BUILD_LIMIT_S), torch.device("meta"), no_init_weights():
            skeleton = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
            skeleton.tie_weights()  # which is part of giving weights their first values, left out here
            return skeleton
    except TookTooLongError as error:
        raise _endless() from error
    except Exception as error:  # a config can be well-formed and still name an activation that does not exist
        raise _broken_config(error) from error


def _drop_requests(config: PretrainedConfig) -> None:
    """Take out what a config asks of the library beyond its model's shape: attention from a package that the library
    would fetch from the hub, weights from another file, other outputs than the program reads.
    """
    if config._attn_implementation not in _OWN_ATTENTION:
        config._attn_implementation = None
    config._experts_implementation = None
    vars(config).pop("transformers_weights", None)
    config.return_dict = True
    config.output_attentions = config.output_hidden_states = False
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if isinstance(part, PretrainedConfig):
            _drop_requests(part)


def _endless() -> PlaygroundError:
    return fail(
        ErrorCode.BROKEN_CONFIG,
        f"The model that config.json describes cannot be built in {BUILD_LIMIT_S:g} seconds.",
        "Compare config.json with the original model's, or choose another one.",
    )


def _broken_config(error: Exception) -> PlaygroundError:
    message, hint = config_sentence(error)
    return fail(ErrorCode.BROKEN_CONFIG, message, hint, f"{type(error).__name__}: {error}")
