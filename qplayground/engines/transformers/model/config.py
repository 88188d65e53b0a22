"""Reads a model's config as transformers does, for causal language models, and removes its extra requests."""

from pathlib import Path

import transformers
from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
)

from qplayground.catalog.config import ENCODERS_BY_DEFAULT
from qplayground.catalog.inspect import inspect_folder
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.model import ModelEntry, ModelSource, ModelTypes
from qplayground.engines.transformers.failures.config_errors import config_sentence
from qplayground.engines.transformers.failures.limits import TookTooLongError, time_limit

BUILD_LIMIT_S = 30.0
"""Without weights, even the largest models are built in a second or two."""
_OWN_ATTENTION = (None, "eager", "sdpa")


def read_model_config(path: Path) -> tuple[PretrainedConfig, bool]:
    """The config, and whether it asked for something that is ignored.

    Raises PlaygroundError for a config that cannot be read, or is not a causal language model's.
    """
    try:
        with time_limit(BUILD_LIMIT_S):
            config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        asked = _asks_for_more(config)
        _drop_requests(config)
    except TookTooLongError as error:
        raise endless() from error
    except Exception as error:  # transformers 5 validates with huggingface_hub's own exception types
        raise (remote_code(error) if wants_code(error) else broken_config(error)) from error
    if not _is_causal(config):
        raise fail(
            ErrorCode.NOT_CAUSAL,
            f"A {config.model_type} model is not a causal language model, so it cannot continue a prompt.",
            "Pick a model made for text generation.",
        )
    return config, asked


def check_folder(path: Path) -> ModelEntry:
    """Describe the model in that folder. Raises PlaygroundError for anything that cannot be loaded."""
    entry = inspect_folder(path, source=ModelSource.FOLDER, model_types=model_types())
    if entry.problem is not None:
        raise PlaygroundError(entry.problem)
    return entry


def model_types() -> ModelTypes:
    """The model types that the installed transformers can load, by its own tables. Imports no model class."""
    causal = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    classes = {**MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, **MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES}
    answering = {name for name, kind in classes.items() if MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(name) != kind}
    multimodal = {*MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, *MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES}
    return ModelTypes(
        version=str(transformers.__version__),
        causal=causal,
        encoder_decoders=frozenset(answering),
        multimodal=frozenset(multimodal - causal),
        known=frozenset(CONFIG_MAPPING_NAMES),
    )


def wants_code(error: Exception) -> bool:
    """Whether the error is transformers' refusal to run a model's own code."""
    return isinstance(error, ValueError) and "trust_remote_code" in str(error)


def remote_code(error: Exception) -> PlaygroundError:
    """The error for a model that needs code of its own."""
    return fail(
        ErrorCode.REMOTE_CODE,
        "This model needs Python code of its own, which this program never runs.",
        "Pick a model whose architecture is part of transformers.",
        str(error),
    )


def endless() -> PlaygroundError:
    """The error for a model that takes too long to build."""
    return fail(
        ErrorCode.BROKEN_CONFIG,
        f"The model that config.json describes cannot be built in {BUILD_LIMIT_S:g} seconds.",
        "Compare config.json with the original model's, or choose another one.",
    )


def broken_config(error: Exception) -> PlaygroundError:
    """The error for a broken config, with transformers' message in plain words."""
    message, hint = config_sentence(error)
    return fail(ErrorCode.BROKEN_CONFIG, message, hint, f"{type(error).__name__}: {error}")


def _is_causal(config: PretrainedConfig) -> bool:
    """Whether transformers has a causal class for the config, and the config is not set up as something else.

    `is_decoder` alone says nothing: GPT-NeoX has it false.
    """
    if config.model_type in ENCODERS_BY_DEFAULT and not getattr(config, "is_decoder", False):
        return False
    loads = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return loads and not getattr(config, "is_encoder_decoder", False)


def _drop_requests(config: PretrainedConfig) -> None:
    """Remove what a config requests beyond its model's shape.

    That is attention from a package that the library would fetch from the hub, weights from another file, and outputs
    that the program does not read.
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


def _asks_for_more(config: PretrainedConfig) -> bool:
    """Whether it requests something that `_drop_requests` removes, and that a plain script would do, or fail at."""
    parts = [part for name in config.sub_configs if isinstance(part := getattr(config, name, None), PretrainedConfig)]
    own = (
        config._attn_implementation in _OWN_ATTENTION
        and config.return_dict
        and "transformers_weights" not in vars(config)
    )
    return not own or any(map(_asks_for_more, parts))
