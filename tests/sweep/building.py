"""A tiny model of any causal type, with random weights: the type's own config with small sizes.

Where an architecture allows, input widths are multiples of 64 and output widths of 32. bitsandbytes' 4-bit kernel for
AVX512-BF16 refuses others. The layers cover every kind of layer in a type.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

from tests.engine import tiny
from tests.sweep.overrides import OVERRIDES, PUBLISHED
from tests.sweep.sizes import AT_MOST, KEY_VALUE_HEADS, NO_TOKEN, NUMBER_OF_LAYERS, QUERY_HEADS, SIZES

MOST_LAYERS = 6
MOST_SEEDS = 8
NEW_TOKENS = 12
LEAST_TOKENS = 6
_TOKENS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
_FIRST_FREE_TOKEN = 300
"""Tokens not in the prompt, merged from letters. They stand for images and sounds."""
_COMMON = {field.name for field in dataclasses.fields(PretrainedConfig)}
"""Fields of every config, which stay as they are."""


def causal_types() -> tuple[str, ...]:
    """Every model_type with a class in AutoModelForCausalLM."""
    return tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def make(model_type: str, folder: Path) -> PreTrainedModel:
    """Write a tiny model of that type and a tokenizer, always the same. Returns the model.

    Tries several random seeds, and takes the first whose text would change with a wrong layer.
    """
    torch.manual_seed(0)
    model = build(model_type)
    for seed in range(MOST_SEEDS):
        randomise(model, seed)
        if _writes_much(model):
            break
    tiny.save_model(model, folder)
    return model


def build(model_type: str) -> PreTrainedModel:
    """Such a model as published: it includes the vision and audio parts that its causal class drops."""
    config = tiny_config(model_type)
    lists = (PUBLISHED, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES)
    published = next((names[model_type] for names in lists if model_type in names), None)
    if published is None:
        return AutoModelForCausalLM.from_config(config)
    return getattr(transformers, str(published))(config)


def tiny_config(model_type: str) -> PretrainedConfig:
    """The type's config with small sizes. Raises transformers' errors for sizes that do not fit together."""
    return _shrunk(CONFIG_MAPPING[model_type], OVERRIDES.get(model_type, {}))


def randomise(model: PreTrainedModel, seed: int) -> None:
    """Fill the matrices so that each layer changes the text. Fresh models repeat the last token or tie."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2 or name.endswith("A_log") or not parameter.is_floating_point():
                continue  # norms, biases and decay rates keep their initial values
            scale = 0.05 if "embed" in name or "wte" in name else 2.0 / parameter.shape[-1] ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def _writes_much(model: PreTrainedModel) -> bool:
    """Whether its text has full length and varied tokens. True if it cannot generate, which a later step reports."""
    prompt = tiny.byte_level_tokenizer()(tiny.PROMPT, return_tensors="pt")["input_ids"]
    try:
        written = model.eval().generate(prompt, max_new_tokens=NEW_TOKENS, do_sample=False)[0, prompt.shape[1] :]
    except Exception:
        return True
    return len(written) == NEW_TOKENS and len(set(written.tolist())) >= LEAST_TOKENS


def _shrunk(kind: type[PretrainedConfig], overrides: Mapping[str, Any]) -> PretrainedConfig:
    """A config of that class. Overrides of a part go to that part; `model_type` there selects the part's type."""
    parts = {name: dict(overrides.get(name) or {}) for name in kind.sub_configs}
    named = {name: CONFIG_MAPPING[own.pop("model_type")] for name, own in parts.items() if "model_type" in own}
    made = {name: _shrunk(part, parts[name]) for name, part in named.items()}
    usual = kind(**made)
    fields: dict[str, Any] = {}
    for name, default in _fields(usual).items():
        if name in kind.sub_configs:
            if isinstance(default, PretrainedConfig):
                fields[name] = (made.get(name) or _shrunk(type(default), parts[name])).to_dict()
        elif (size := _size(name, default)) is not None:
            fields[name] = size
        elif name in NO_TOKEN:
            fields[name] = None
    fields |= _tokens(usual) | _key_value_heads(usual) | _layers(usual)
    fields |= {name: value for name, value in overrides.items() if name not in kind.sub_configs}
    return kind(**fields)


def _fields(config: PretrainedConfig) -> dict[str, Any]:
    """The fields of its own class, without those of every config."""
    own = {field.name for field in dataclasses.fields(type(config))} - _COMMON
    return {name: _value(config, name) for name in sorted(own)}


def _value(config: PretrainedConfig, name: str) -> Any:
    """A field that may differ by layer cannot be read for all layers. Returns its general value."""
    try:
        return getattr(config, name, None)
    except Exception:
        return vars(config).get(name)


def _size(name: str, default: object) -> int | None:
    if type(default) is not int or default <= 0:
        return None
    return SIZES[name] if name in SIZES else min(default, AT_MOST[name]) if name in AT_MOST else None


def _tokens(usual: PretrainedConfig) -> dict[str, int]:
    """The tokenizer's special tokens, and tokens in the vocabulary for images and sounds."""
    others = [
        name
        for name, value in _fields(usual).items()
        if name.endswith(("token_id", "token_index")) and isinstance(value, int) and name not in _TOKENS
    ]
    return _TOKENS | {name: _FIRST_FREE_TOKEN + place for place, name in enumerate(others)}


def _key_value_heads(usual: PretrainedConfig) -> dict[str, int]:
    """As many as query heads if the type has so many, otherwise half of them, or one."""
    fields, found = _fields(usual), {}
    most = max((fields.get(name) or 0 for name in QUERY_HEADS), default=0)
    for name in KEY_VALUE_HEADS:
        if isinstance(value := fields.get(name), int):
            found[name] = 4 if value == most else 1 if value == 1 else 2
    return found


def _layers(usual: PretrainedConfig) -> dict[str, Any]:
    """Two layers, or one of each kind if more, and the lists that name each layer's kind."""
    fields = _fields(usual)
    name = next((name for name in NUMBER_OF_LAYERS if isinstance(fields.get(name), int)), None)
    if name is None:
        return {}
    count = fields[name]
    lists = {key: value for key, value in fields.items() if _names_kinds(value, count)}
    kinds = list(zip(*lists.values(), strict=True)) if lists else [()] * count
    first = sorted({kinds.index(kind) for kind in kinds})[:MOST_LAYERS]
    chosen = first if len(first) > 1 else [*range(min(2, count))]
    return {name: len(chosen)} | {key: [value[layer] for layer in chosen] for key, value in lists.items()}


def _names_kinds(value: object, layers: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == layers and all(isinstance(one, str) for one in value)
