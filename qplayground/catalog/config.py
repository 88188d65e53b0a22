"""Reads a config.json, and decides whether a model with that config can be compared."""

import codecs
import json
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from qplayground.catalog.quantized import UNNAMED, field_of_config, method_of_config
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail
from qplayground.core.model import ModelTypes
from qplayground.core.system.frozen import remedy
from qplayground.core.text import is_text

MODEL_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+ -]{0,99}")
MAX_JSON_BYTES = 64_000_000
CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "n_ctx",
    "max_target_positions",
)
LAYER_KEYS = frozenset(
    {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "decoder_layers", "encoder_layers"}
)
_COPY_CONFIG = "Mend that file, or copy config.json from the original model."
MOST_STRETCH = 10_000
MOST_LABELS = 10_000
"""transformers makes a name for each label."""
ENCODERS_BY_DEFAULT = frozenset(
    {
        "bert",
        "bert-generation",
        "big_bird",
        "camembert",
        "data2vec-text",
        "electra",
        "ernie",
        "megatron-bert",
        "reformer",
        "rembert",
        "roberta",
        "roberta-prelayernorm",
        "roc_bert",
        "roformer",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
"""Model types that transformers also loads as causal models. They generate nonsense unless `is_decoder` is set."""


_ORIGINAL = "Choose the original model, with weights in float32, bfloat16 or float16."


class ByteOrderMarkError(ValueError):
    """A JSON file begins with a byte order mark, as editors on Windows may write. transformers cannot read it."""

    hint = "Save that file again as UTF-8 without a byte order mark."

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} begins with a byte order mark, which transformers does not read past.")


class NotAFileError(ValueError):
    """A folder, pipe or device where a file is expected."""


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a config.json that matter before loading."""

    model_type: str
    architecture: str | None = None
    context_tokens: int | None = None
    is_decoder: bool = False
    is_encoder_decoder: bool | None = None
    auto_classes: tuple[str, ...] = ()
    quantized_by: str | None = None
    quantized_field: str = ""
    layers: int = 0


def read_json(path: Path) -> Any:
    """The content of a JSON file, read as transformers would.

    Raises NotAFileError for a folder, pipe or device, which may never end. Raises ByteOrderMarkError, ValueError for a
    broken or huge file, and OSError otherwise.
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


def read_fields(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is none or it cannot be read."""
    try:
        fields = read_json(path)
    except (OSError, ValueError):
        return {}
    return fields if isinstance(fields, dict) else {}


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
        message = f"config.json cannot be read as JSON: {str(error)[:200]}."
        raise fail(ErrorCode.BROKEN_CONFIG, message, _COPY_CONFIG, str(error)) from error
    kind = fields.get("model_type") if isinstance(fields, dict) else None
    if not isinstance(kind, str) or not MODEL_TYPE.fullmatch(kind):
        message = "config.json names no model_type, so transformers cannot tell what kind of model this is."
        raise fail(ErrorCode.BROKEN_CONFIG, message, _COPY_CONFIG)
    if _most(fields, ("num_labels",)) > MOST_LABELS:
        message = f"config.json asks for more than {MOST_LABELS:,} labels, which no text generator has."
        raise fail(ErrorCode.BROKEN_CONFIG, message, "Compare it with the original model's.")
    text = fields["text_config"] if isinstance(fields.get("text_config"), dict) else {}
    architectures = fields.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else None
    auto_map = fields.get("auto_map")
    encoder_decoder = fields.get("is_encoder_decoder")
    return ModelConfig(
        model_type=kind,
        architecture=first if isinstance(first, str) and is_text(first) else None,
        context_tokens=_context_tokens(fields) or _context_tokens(text),
        is_decoder=fields.get("is_decoder") is True,
        is_encoder_decoder=encoder_decoder if isinstance(encoder_decoder, bool) else None,
        auto_classes=tuple(auto_map) if isinstance(auto_map, dict) else (),
        quantized_by=method_of_config(fields) or method_of_config(text),
        quantized_field=field_of_config(fields) or field_of_config(text),
        layers=_most(fields, LAYER_KEYS),
    )


def config_problem(config: ModelConfig, types: ModelTypes | None) -> ErrorInfo | None:
    """Why a model with that config cannot be compared, or None. Without `types` only quantization is checked.

    As in transformers, `model_type` decides what a model is. `architectures` only names the class that saved it: a
    fine-tuner's, one with a vision part, or an old spelling.
    """
    if config.quantized_by:
        return already_quantized(config.quantized_by)
    if types is None:
        return None
    kind = config.model_type
    if kind in types.causal:
        if kind in ENCODERS_BY_DEFAULT and not config.is_decoder:
            return _not_causal(f"This {kind} model is set up as an encoder (is_decoder is not true).")
        if config.is_encoder_decoder or (config.is_encoder_decoder is None and kind in types.encoder_decoders):
            return _not_causal(f"This {kind} model is an encoder-decoder: it answers a text instead of continuing it.")
        return None
    if config.auto_classes:
        return ErrorInfo(
            ErrorCode.REMOTE_CODE,
            f"transformers has no text generator of the type {kind}: the model brings Python code of its own, which is "
            "refused.",
            "Choose a model whose type is part of transformers.",
        )
    if kind in types.multimodal:
        return ErrorInfo(
            ErrorCode.UNSUPPORTED,
            f"transformers loads a {kind} model only together with its parts for images or sound, and not as a causal "
            "language model.",
            "Choose a text-only model of the same family.",
        )
    if kind in types.known:
        return _not_causal(f"A {kind} model does not continue text.")
    return ErrorInfo(
        ErrorCode.UNSUPPORTED,
        f"The installed transformers {types.version} does not know models of the type {kind!r}.",
        remedy(
            "Update it, if the model is a new one: `python -m pip install --upgrade transformers`.",
            "Update this program, if the model is a new one, or choose another.",
        ),
    )


def is_language_model(config: ModelConfig, types: ModelTypes | None) -> bool:
    """Whether to list the model among language models: it can be compared, or its `problem` helps the user."""
    problem = config_problem(config, types)
    if types is None or problem is None:
        return True
    match problem.code:
        case ErrorCode.ALREADY_QUANTIZED:
            return config.model_type in types.causal
        case ErrorCode.REMOTE_CODE:
            return "AutoModelForCausalLM" in config.auto_classes
        case ErrorCode.UNSUPPORTED:
            name = config.architecture or ""
            return config.model_type in types.multimodal or name.endswith(("ForCausalLM", "LMHeadModel"))
        case _:
            return False


def already_quantized(method: str) -> ErrorInfo:
    """The problem of a checkpoint that was already quantized by that method."""
    return ErrorInfo(
        ErrorCode.ALREADY_QUANTIZED,
        f"These weights are already quantized ({method}), so no precision of them can be compared.",
        _ORIGINAL,
    )


def quantization_problem(config: ModelConfig, found: str | None, dtype: str | None) -> ErrorInfo | None:
    """The problem of quantized weights, judged by config and tensor headers; None if they are not quantized.

    `found`: the method that the tensors show. `dtype`: the type in which most of them are stored.
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
            f"are plain {dtype}. One of the two is wrong.",
            f"If these are the original weights, take {config.quantized_field} out of config.json.",
        )
    return already_quantized(found if said == UNNAMED else said)


def declared_quantized(config: ModelConfig) -> ErrorInfo:
    """The problem of quantized weights if only the config is known."""
    return ErrorInfo(
        ErrorCode.ALREADY_QUANTIZED,
        f"config.json says in {config.quantized_field} that the weights are already quantized ({config.quantized_by}), "
        "so no precision of them can be compared.",
        _ORIGINAL,
    )


def _context_tokens(fields: dict[str, Any]) -> int | None:
    """The longest context in tokens. None if unknown or unlimited.

    `max_sequence_length` is the length after RoPE scaling, as in Vicuna's and LongChat's configs.
    """
    if _is_alibi(fields):
        return None
    values = (_positive(fields.get(key)) for key in CONTEXT_KEYS)
    trained = next((value for value in values if value), 0)
    longest = max(_stretched(fields, trained), _positive(fields.get("max_sequence_length")))
    return longest or None


def _is_alibi(fields: dict[str, Any]) -> bool:
    """Whether the model uses ALiBi, which has no length limit; `seq_length` is then the training length."""
    attention = fields.get("attn_config")
    if fields.get("model_type") == "mpt":
        return not isinstance(attention, dict) or attention.get("alibi") is not False
    return fields.get("model_type") == "bloom" or fields.get("alibi") is True


def _stretched(fields: dict[str, Any], trained: int) -> int:
    """Context tokens after RoPE scaling. The factor applies to `original_max_position_embeddings`, if given.

    Some configs already store the product as `max_position_embeddings`.
    """
    rope = fields.get("rope_parameters") or fields.get("rope_scaling")
    if not isinstance(rope, dict):
        return trained
    factor = rope.get("factor")
    if not isinstance(factor, int | float) or not 1 < factor < MOST_STRETCH:
        return trained
    original = _positive(rope.get("original_max_position_embeddings"))
    return max(trained, round((original or trained) * factor))


def _positive(value: object) -> int:
    """The value if it is a possible size, else 0."""
    return value if type(value) is int and 0 < value < 2**63 else 0


def _most(fields: dict[str, Any], keys: Collection[str]) -> int:
    """The largest integer under one of these keys, at any depth; 0 if there is none."""
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
