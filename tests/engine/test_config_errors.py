"""A config.json that transformers cannot use: the sentence names the field, and the hint helps."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers

from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.messages.events import Failed
from tests.engine import tiny
from tests.engine.conftest import ModelFolder, carry_out


@pytest.fixture
def folder(model_folder: ModelFolder, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder("llama"), tmp_path / "model"))


def refusal(folder: Path, **fields: Any) -> ErrorInfo:
    """The error for that model after these fields of its config.json were set."""
    tiny.edit_json(folder / "config.json", **fields)
    event = carry_out(tiny.load_command(folder))[-1]
    assert isinstance(event, Failed), event
    assert event.error.code is ErrorCode.BROKEN_CONFIG
    assert not any(word in str(event.error) for word in ("ownload", "missing", "damaged", "does not know"))
    return event.error


@pytest.mark.parametrize(
    ("fields", "message", "hint"),
    [
        ({"rms_norm_eps": "3e-6"}, "rms_norm_eps must be a float, and it is '3e-6'.", "the number 3e-06."),
        ({"num_hidden_layers": "2"}, "num_hidden_layers must be an integer, and it is '2'.", "the number 2."),
        ({"intermediate_size": 128.5}, "intermediate_size must be an integer, and it is 128.5.", "original model"),
        ({"hidden_act": ["silu"]}, "hidden_act must be text, and it is ['silu'].", "original model"),
        (
            {"attention_dropout": "0.25"},
            "attention_dropout must be an integer or a float or null, and it is '0.25'.",
            "the number 0.25.",
        ),
        ({"use_cache": "yes"}, "use_cache must be true or false, and it is 'yes'.", "original model"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(fields: dict[str, Any], message: str, hint: str, folder: Path) -> None:
    error = refusal(folder, **fields)

    assert error.message == f"config.json: {message}"
    assert hint in error.hint


def test_a_whole_number_where_a_float_is_wanted(folder: Path) -> None:
    """Converters of DeepSeek write a whole number here."""
    error = refusal(folder, model_type="deepseek_v3", architectures=["DeepseekV3ForCausalLM"], routed_scaling_factor=2)

    assert error.message == "config.json: routed_scaling_factor must be a float, and it is 2."
    assert error.hint == "Write it in config.json as the number 2.0."


def test_fields_that_do_not_fit_together(folder: Path) -> None:
    error = refusal(folder, num_attention_heads=3)

    assert "not a multiple of the number of attention heads (3)" in error.message
    assert error.message.startswith("The fields of config.json do not fit together: ")


def test_long_words_keep_their_beginning_and_their_end(folder: Path) -> None:
    error = refusal(folder, layer_types=["full_attention", "nowhere_attention"])

    assert "`layer_types` entries must be in" in error.message and "'nowhere_attention']" in error.message
    assert len(error.message) < 400


def test_what_else_transformers_says_is_said(folder: Path) -> None:
    error = refusal(folder, rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0})

    assert "KeyError: " in error.message and "factor" in error.message


def test_a_type_of_model_that_is_not_known(folder: Path) -> None:
    tiny.edit_json(folder / "config.json", model_type="tomorrow")
    event = carry_out(tiny.load_command(folder))[-1]

    assert isinstance(event, Failed)
    assert f"transformers {transformers.__version__} does not know models of the type 'tomorrow'" in event.error.message
    assert "pip install --upgrade transformers" in event.error.hint


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("config.json", ErrorCode.BROKEN_CONFIG),
        ("tokenizer.json", ErrorCode.BROKEN_TOKENIZER),
        ("tokenizer_config.json", ErrorCode.BROKEN_TOKENIZER),
    ],
)
def test_a_byte_order_mark_is_named(name: str, code: ErrorCode, folder: Path) -> None:
    (folder / name).write_text((folder / name).read_text("utf-8"), "utf-8-sig")

    event = carry_out(tiny.load_command(folder))[-1]

    assert isinstance(event, Failed) and event.error.code is code
    assert event.error.message == f"{name} begins with a byte order mark, which transformers does not read past."
    assert "UTF-8 without" in event.error.hint
