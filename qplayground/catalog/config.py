"""What a config.json says, and whether a model with that config can be compared here."""

import codecs
import json
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from qplayground.catalog.quantized import UNNAMED, field_of_config, method_of_config
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail

MAX_JSON_BYTES = 64_000_000
CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "n_ctx",
    "max_target_positions",
)
LAYER_KEYS = frozenset(
    {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "decoder_layers", "encoder_layers"}
)
MOST_LABELS = 10_000
"""transformers makes a name for each."""
DECODERS_ONLY_BY_CONFIG = frozenset(
    {
        "BertGenerationDecoder",
        "BertLMHeadModel",
        "BigBirdForCausalLM",
        "CamembertForCausalLM",
        "Data2VecTextForCausalLM",
        "ElectraForCausalLM",
        "ErnieForCausalLM",
        "MegatronBertForCausalLM",
        "ReformerModelWithLMHead",
        "RemBertForCausalLM",
        "RoCBertForCausalLM",
        "RoFormerForCausalLM",
        "RobertaForCausalLM",
        "RobertaPreLayerNormForCausalLM",
        "XLMRobertaForCausalLM",
        "XLMRobertaXLForCausalLM",
        "XmodForCausalLM",
    }
)
"""Classes of transformers that load and run as an encoder, and write nonsense, unless `is_decoder` is set."""


_ORIGINAL = "Choose the original model, with weights in float32, bfloat16 or float16."


class ByteOrderMarkError(ValueError):
    """A JSON file begins with a byte order mark, as editors on Windows can write one. transformers does not read it."""

    hint = "Save that file again as UTF-8 without a byte order mark."

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} begins with a byte order mark, which transformers does not read past.")


class NotAFileError(ValueError):
    """A folder, a pipe or a device stands where a file is expected."""


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The few fields of a config.json that matter before loading."""

    model_type: str
    architecture: str | None = None
    context_tokens: int | None = None
    is_decoder: bool = False
    auto_classes: tuple[str, ...] = ()
    quantized_by: str | None = None
    quantized_field: str = ""
    layers: int = 0


def read_json(path: Path) -> Any:
    """A JSON file as transformers would read it.

    Raises NotAFileError for a pipe or a device, which could be read for ever, ByteOrderMarkError, ValueError for a
    broken or huge file; OSError otherwise.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise NotAFileError(f"{path.name} is a pipe, a device or a folder and not a file.")
    if found.st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path.name} has {found.st_size:,} bytes")
    data = path.read_bytes()
    if data.startswith(codecs.BOM_UTF8):
        raise ByteOrderMarkError(path.name)
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error


def read_config(path: Path) -> ModelConfig:
    """Read a config.json. Raises PlaygroundError(BROKEN_CONFIG)."""
    try:
        fields = read_json(path)
    except FileNotFoundError as error:
        raise _broken("There is no config.json, so nothing says what kind of model this is.") from error
    except NotAFileError as error:
        raise _broken(str(error)) from error
    except OSError as error:
        raise _broken(f"config.json cannot be read: {error.strerror or error}.") from error
    except ByteOrderMarkError as error:
        raise fail(ErrorCode.BROKEN_CONFIG, str(error), error.hint) from error
    except ValueError as error:
        raise _broken(f"config.json cannot be read as JSON: {str(error)[:200]}.", str(error)) from error
    if not isinstance(fields, dict) or not isinstance(fields.get("model_type"), str) or not fields["model_type"]:
        raise _broken("config.json names no model_type, so transformers cannot tell what kind of model this is.")
    if _most(fields, ("num_labels",)) > MOST_LABELS:
        message = f"config.json asks for more than {MOST_LABELS:,} labels, which no text generator has."
        raise fail(ErrorCode.BROKEN_CONFIG, message, "Compare it with the original model's.")
    text = fields["text_config"] if isinstance(fields.get("text_config"), dict) else {}
    architectures = fields.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else None
    auto_map = fields.get("auto_map")
    return ModelConfig(
        model_type=fields["model_type"],
        architecture=first if isinstance(first, str) else None,
        context_tokens=_context_tokens(fields) or _context_tokens(text),
        is_decoder=fields.get("is_decoder") is True,
        auto_classes=tuple(auto_map) if isinstance(auto_map, dict) else (),
        quantized_by=method_of_config(fields) or method_of_config(text),
        quantized_field=field_of_config(fields) or field_of_config(text),
        layers=_most(fields, LAYER_KEYS),
    )


def config_problem(config: ModelConfig, causal_architectures: frozenset[str]) -> ErrorInfo | None:
    """Why a model with that config cannot be compared, or None. An empty set judges nothing but quantization."""
    if config.quantized_by:
        return already_quantized(config.quantized_by)
    architecture = config.architecture
    if not causal_architectures or architecture is None:
        return None
    if architecture in causal_architectures:
        if architecture in DECODERS_ONLY_BY_CONFIG and not config.is_decoder:
            return _not_causal(
                f"{architecture} is set up as an encoder (is_decoder is false): it cannot continue text."
            )
        return None
    if config.auto_classes:
        return ErrorInfo(
            ErrorCode.REMOTE_CODE,
            f"{architecture} is not a text generator that transformers knows: the model brings its own Python code, "
            "which is refused.",
            "Choose a model whose architecture is part of transformers.",
        )
    return _not_causal(f"{architecture} does not continue text, or this version of transformers does not know it.")


def already_quantized(method: str) -> ErrorInfo:
    """What is said of a checkpoint that was quantized by that method before it was saved."""
    return ErrorInfo(
        ErrorCode.ALREADY_QUANTIZED,
        f"These weights are already quantized ({method}), so no precision of them can be compared.",
        _ORIGINAL,
    )


def quantization_problem(config: ModelConfig, found: str | None, dtype: str | None) -> ErrorInfo | None:
    """What is said of weights by both their config and their tensors' headers; None of original ones.

    `found` is the method that the tensors are of, `dtype` the type that most of them are stored in.
    """
    said = config.quantized_by
    if found is not None and said is None:
        return ErrorInfo(
            ErrorCode.ALREADY_QUANTIZED,
            f"By their names and types these weights are already quantized ({found}), which config.json does not say. "
            "No precision of them can be compared.",
            _ORIGINAL,
        )
    if said is None or dtype is None:
        return None if said is None else already_quantized(said)
    if found is None:
        return ErrorInfo(
            ErrorCode.BROKEN_CONFIG,
            f"config.json says in {config.quantized_field} that the weights are quantized ({said}), and the tensors "
            f"are plain {dtype}: one of the two is wrong.",
            f"If these are the original weights, take {config.quantized_field} out of config.json.",
        )
    return already_quantized(found if said == UNNAMED else said)


def said_to_be_quantized(config: ModelConfig) -> ErrorInfo:
    """The same where only the config is known."""
    return ErrorInfo(
        ErrorCode.ALREADY_QUANTIZED,
        f"config.json says in {config.quantized_field} that the weights are already quantized ({config.quantized_by}), "
        "so no precision of them can be compared.",
        _ORIGINAL,
    )


def _context_tokens(fields: dict[str, Any]) -> int | None:
    values = (fields.get(key) for key in CONTEXT_KEYS)
    return next((value for value in values if type(value) is int and 0 < value < 2**63), None)


def _most(fields: dict[str, Any], keys: Collection[str]) -> int:
    """The largest integer under one of these keys, at any depth; 0 without any."""
    return max((value for key, value in _items(fields) if key in keys and type(value) is int), default=0)


def _items(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    parts = [fields]
    while parts:
        for key, value in parts.pop().items():
            yield key, value
            if isinstance(value, dict):
                parts.append(value)


def _not_causal(message: str) -> ErrorInfo:
    hint = "Choose a model for text generation, such as Llama, Qwen, Gemma or GPT-2."
    return ErrorInfo(ErrorCode.NOT_CAUSAL, message, hint)


def _broken(message: str, detail: str = "") -> PlaygroundError:
    hint = "Open the folder that holds config.json beside the weights, or download the model again."
    return fail(ErrorCode.BROKEN_CONFIG, message, hint, detail)
