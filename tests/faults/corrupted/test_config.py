"""Configs and generation settings that are damaged, odd or hostile."""

import json
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from qplayground.core.errors import ErrorCode
from qplayground.core.messages.commands import Generate
from qplayground.core.messages.events import Failed, Generated, PromptRead
from tests.engine import tiny
from tests.engine.conftest import carry_out
from tests.faults.corrupted.folders import RecordedEngine, ask

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(sys.platform == "win32", reason="alarms, pipes and links as POSIX has them"),
]


# ---- config ---------------------------------------------------------------------------------------------------------


SIZES = ["hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "num_key_value_heads", "head_dim"]


@pytest.mark.filterwarnings("ignore:Initializing zero-element")  # an engine prints warnings
@pytest.mark.parametrize("field", [*SIZES, "num_hidden_layers", "max_position_embeddings", "num_labels"])
def test_a_size_that_no_model_has(field: str, folder: Path, engine: RecordedEngine) -> None:
    """Refused or run, but never built: 10⁶ layers would take minutes, and a width of 10⁶ all memory."""
    values: list[Any] = [
        -1,
        0,
        10**6,
        10**9,
        2**63,
        10**400,
        1.5,
        "64",
        [64],
        {"a": 1},
        True,
        float("nan"),
        float("inf"),
    ]
    for value in values:
        tiny.edit_json(folder / "config.json", **{field: value})
        began = time.monotonic()
        answers = ask(engine, folder)
        assert time.monotonic() - began < 5, value
        if type(value) is int and value >= 10**6 and field not in ("max_position_embeddings", "num_labels"):
            assert isinstance(answers.load, Failed), value
        elif not isinstance(value, int) and field != "num_labels":
            assert answers.code is ErrorCode.BROKEN_CONFIG, value
        tiny.edit_json(folder / "config.json", **{field: None})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"\x00" * 100,
        b"\xff\xfe{\x00}\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model_type": "llama", "a": ' + b"9" * 5000 + b"}",
        b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"]',
        b'{"model_type": 5}',
        b'{"model_type": ["llama"]}',
        b'{"model_type": ""}',
        b'{"model_type": "../llama"}',
        b'{"model_type": "llama\\u0000"}',
        b'{"model_type": "\\ud800"}',
        b'{"model_type": "llama", "text_config": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"model_type": "llama", "a": "' + b"x" * 65_000_000 + b'"}',
        b'{"model_type": "llama", "num_hidden_layers": 1e400}',
    ],
    ids=range(17),
)
def test_a_config_that_cannot_be_read(text: bytes, folder: Path, engine: RecordedEngine) -> None:
    (folder / "config.json").write_bytes(text)
    assert ask(engine, folder).code is ErrorCode.BROKEN_CONFIG


ODD: list[tuple[str, Any]] = [
    ("eos_token_id", "x"), ("eos_token_id", -1), ("eos_token_id", [[1]]), ("eos_token_id", 10**30),
    ("pad_token_id", 10**9), ("dtype", "os"), ("dtype", [1]), ("torch_dtype", "int8"), ("dtype", {"a": 1}),
    ("quantization_config", [1]), ("quantization_config", "x"), ("quantization_config", {"quant_method": ["<b>"]}),
    ("architectures", "x"), ("architectures", [[1]]), ("auto_map", [1]), ("auto_map", "x"), ("text_config", 5),
    ("rope_parameters", "x"), ("rope_parameters", {"rope_type": "none"}), ("rope_parameters", {"rope_theta": 0}),
    ("hidden_act", "__import__"), ("hidden_act", ["gelu", {"a": 1}]), ("layer_types", ["x"]), ("rms_norm_eps", -1),
    ("rms_norm_eps", float("nan")), ("use_cache", "x"), ("pruned_heads", {"0": [1]}), ("id2label", {"x": 1}),
    ("is_encoder_decoder", True), ("__class__", "x"), ("to_dict", 5), ("sub_configs", {"a": 1}),
    ("attribute_map", {"hidden_size": "os"}), ("per_layer_config", {"0": {"hidden_size": 7}}), ("kernel_config", 5),
    ("pretraining_tp", 10**9), ("initializer_range", "wide"), ("attention_dropout", -5), ("num_attention_heads", 3),
]  # fmt: skip


def test_a_config_with_an_odd_value(folder: Path, engine: RecordedEngine) -> None:
    config = (folder / "config.json").read_bytes()
    for field, value in ODD:
        tiny.edit_json(folder / "config.json", **{field: value})
        ask(engine, folder)
        (folder / "config.json").write_bytes(config)


@pytest.mark.parametrize(
    "fields",
    [
        {"return_dict": False},
        {"output_attentions": True, "output_hidden_states": True},
        {"attn_implementation": "flash_attention_2"},
        {"transformers_weights": "../other.safetensors"},
        {"transformers_weights": "other.bin"},
        {"experts_implementation": "nobody/kernel"},
    ],
    ids=str,
)
def test_what_a_config_asks_of_the_library_is_not_done(fields: dict[str, Any], folder: Path, good: Path) -> None:
    tiny.edit_json(folder / "config.json", **fields)
    assert written(folder) == written(good)


@lru_cache  # no folder is damaged in two ways
def written(folder: Path) -> tuple[tuple[int, ...], str]:
    """Prompt ids and text of a model that must load."""
    events = carry_out(tiny.load_command(folder), Generate(id=2, request=tiny.request()))
    assert isinstance(events[-1], Generated), events[-1]
    (prompt,) = (event for event in events if isinstance(event, PromptRead))
    return prompt.token_ids, events[-1].text


# ---- generation settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "null", '"x"', "[" * 100_000, "\xff", '{"eos_token_id": 1, "temperature": -1, "top_p": 7}',
        '{"eos_token_id": 1, "max_length": 1000000000000, "min_new_tokens": 99999}',
        '{"eos_token_id": 1, "num_beams": -3}',
        '{"eos_token_id": 1, "unknown": {"a": [1]}}', '{"eos_token_id": 1, "cache_implementation": "none"}',
        '{"eos_token_id": 1, "watermarking_config": {"a": 1}, "compile_config": 5}',
        '{"eos_token_id": 1, "to_dict": 3}',
        '{"eos_token_id": 1, "temperature": "hot", "top_k": [], "do_sample": "y"}',
        '{"eos_token_id": 1, "__class__": 3}',
        '{"eos_token_id": 1, "suppress_tokens": [1, 2, 3], "forced_bos_token_id": "x", "stop_strings": 5}',
        '{"eos_token_id": 1, "custom_generate": "x", "assistant_model": 3}',
        '{"eos_token_id": [1, "a", -5, 1e9, null, [1]]}',
    ],
)  # fmt: skip
def test_generation_settings_change_nothing(text: str, folder: Path, good: Path) -> None:
    (folder / "generation_config.json").write_bytes(text.encode("latin-1"))
    assert written(folder) == written(good)


@pytest.mark.parametrize("token", ["x", -5, 10**12, 10**30, 1.5, [], [[1]], {"a": 1}, True, ["a"], float("nan")])
def test_special_tokens_that_are_none(token: Any, folder: Path) -> None:
    fields = dict.fromkeys(("eos_token_id", "pad_token_id", "bos_token_id"), token)
    (folder / "generation_config.json").write_text(json.dumps(fields))
    written(folder)
