"""Everything that can be refused before a single weight is read."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from qplayground.catalog.inspect import inspect_folder
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.generation import GenerationRequest
from qplayground.core.model import ModelSource
from qplayground.core.precision import Precision
from qplayground.engine.prompt import read_prompt


@dataclass(frozen=True)
class Preflight:
    """What is known before the weights. `skeleton` is the model on the meta device: shapes without memory."""

    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    prompt_ids: list[int]
    context_tokens: int | None
    skeleton: PreTrainedModel

    @property
    def default_skips(self) -> list[str]:
        """The modules that transformers never quantizes: tied ones, the output head, the last."""
        return [str(name) for name in get_keys_to_not_convert(self.skeleton)]

    def expected_quantized_modules(self, precision: Precision) -> int:
        """How many linear layers the recipe asks to be converted.

        Raises PlaygroundError(BAD_PRECISION) for a skipped module that this model does not have.
        """
        if not precision.is_quantized:
            return 0
        layers = [
            name
            for name, module in self.skeleton.named_modules()
            if type(module) is nn.Linear or isinstance(module, Conv1D)
        ]
        modules = [name for name, _ in self.skeleton.named_modules() if name]
        for pattern in precision.skip_modules:
            if all(should_convert_module(name, [pattern]) for name in modules):
                raise fail(
                    ErrorCode.BAD_PRECISION,
                    f"{precision.label} skips {pattern}, which is the name or ending of no module of this model.",
                    f"Give the name of a layer or its ending; a layer of this model is {_example(layers, self)}.",
                )
        skips = [*self.default_skips, *precision.skip_modules]
        return sum(1 for name in layers if should_convert_module(name, skips))


def _example(layers: list[str], preflight: Preflight) -> str:
    """A layer that is not skipped anyway."""
    return next((name for name in layers if should_convert_module(name, preflight.default_skips)), "…")


def inspect_model(path: Path, request: GenerationRequest) -> Preflight:
    """Read config and tokenizer, and check the request against them.

    Raises PlaygroundError for a model that cannot be run and for a prompt that does not fit its context.
    """
    entry = inspect_folder(path, source=ModelSource.FOLDER, causal_architectures=frozenset(causal_architectures()))
    if entry.problem is not None:
        raise PlaygroundError(entry.problem)
    config = _read_config(path)
    tokenizer = _read_tokenizer(path)
    context = entry.context_tokens
    prompt_ids = read_prompt(tokenizer, request, context)
    return Preflight(config, tokenizer, prompt_ids, context, _skeleton(config))


def causal_architectures() -> tuple[str, ...]:
    """The class names that transformers can load as causal language models, without those that only might be one."""
    return tuple(sorted({str(name) for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()}))


def _read_config(path: Path) -> PretrainedConfig:
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers 5 validates with huggingface_hub's own exception types
        raise (_remote_code(error) if _wants_code(error) else _broken_config(error)) from error
    encoder = getattr(config, "is_decoder", True) is False  # only families that can be either have the attribute
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or encoder:
        raise fail(
            ErrorCode.NOT_CAUSAL,
            f"A {config.model_type} model is not a causal language model, so it cannot continue a prompt.",
            "Pick a model made for text generation.",
        )
    return config


def _skeleton(config: PretrainedConfig) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except Exception as error:  # a config can be well-formed and still name an activation that does not exist
        raise _broken_config(error) from error


def _wants_code(error: Exception) -> bool:
    return isinstance(error, ValueError) and "trust_remote_code" in str(error)


def _remote_code(error: Exception) -> PlaygroundError:
    return fail(
        ErrorCode.REMOTE_CODE,
        "This model brings Python code of its own, which is never run here.",
        "Pick a model whose architecture is part of transformers.",
        str(error),
    )


def _broken_config(error: Exception) -> PlaygroundError:
    return fail(
        ErrorCode.BROKEN_CONFIG,
        "The model's config.json is missing, damaged or of a kind that transformers does not know.",
        "Download the model again, or update transformers.",
        f"{type(error).__name__}: {error}",
    )


def _read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # corrupt files raise whatever the parser met: KeyError, ValueError, bare Exception
        if _wants_code(error):
            raise _remote_code(error) from error
        raise fail(
            ErrorCode.BROKEN_TOKENIZER,
            "The model's tokenizer is missing or damaged.",
            "Download the model again; it needs tokenizer.json beside config.json.",
            f"{type(error).__name__}: {error}",
        ) from error
