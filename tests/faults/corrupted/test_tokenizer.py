"""Tokenizers that are damaged, odd, or another model's."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qplayground.core.errors import ErrorCode
from qplayground.core.messages.events import Failed, Loaded
from tests.engine import tiny
from tests.faults.corrupted.folders import RecordedEngine, ask

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(sys.platform == "win32", reason="alarms, pipes and links as POSIX has them"),
]


def edit_tokenizer(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    fields = json.loads((folder / "tokenizer.json").read_bytes())
    change(fields)
    (folder / "tokenizer.json").write_text(json.dumps(fields))


def shift(fields: dict[str, Any]) -> None:
    vocabulary = fields["model"]["vocab"]
    vocabulary.update({token: number + 100_000 for token, number in vocabulary.items()})


@pytest.mark.parametrize(
    "change",
    [
        shift,
        lambda fields: fields["added_tokens"].append(
            {"id": 99_999, "content": "the", "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": False}
        ),
        lambda fields: fields["model"].update(vocab=5),
        lambda fields: fields["model"].update(merges=[["never", "heard"]]),
        lambda fields: fields.update(
            truncation={"max_length": 0, "strategy": "LongestFirst", "stride": 5, "direction": "Right"}
        ),
        lambda fields: fields.update(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed", "invert": False}
        ),
    ],
    ids=["other ids", "added beyond", "no vocabulary", "unknown merge", "cut", "pattern"],
)  # fmt: skip
def test_a_tokenizer_that_does_not_fit(change: Any, folder: Path, engine: RecordedEngine) -> None:
    edit_tokenizer(folder, change)
    assert ask(engine, folder).code is ErrorCode.BROKEN_TOKENIZER


def test_a_tokenizer_of_a_newer_kind(folder: Path, engine: RecordedEngine) -> None:
    edit_tokenizer(folder, lambda fields: fields["model"].update(type="Never"))
    answers = ask(engine, folder)
    assert isinstance(answers.load, Failed) and answers.code is ErrorCode.MISSING_PACKAGE
    assert "tokenizer.json" in answers.load.error.message and "'Never'" in answers.load.error.message


def test_what_the_library_says_of_a_tokenizer_is_said(folder: Path, engine: RecordedEngine) -> None:
    """Valid JSON that does not fit can be damaged or newer, so the message claims neither."""
    edit_tokenizer(folder, lambda fields: fields["model"].update(merges=[["never", "heard"]]))
    answers = ask(engine, folder)
    assert isinstance(answers.load, Failed) and answers.code is ErrorCode.BROKEN_TOKENIZER
    assert "Exception: " in answers.load.error.message and "damaged" not in answers.load.error.message


def test_a_tokenizer_that_fills_up_and_one_that_multiplies(folder: Path, engine: RecordedEngine) -> None:
    padding = {"strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    edit_tokenizer(folder, lambda fields: fields.update(padding={**padding, "pad_type_id": 0, "pad_token": "x"}))
    assert isinstance(ask(engine, folder).load, Loaded)
    twice = {"type": "Replace", "pattern": {"String": "t"}, "content": "t" * 10_000}
    edit_tokenizer(folder, lambda fields: fields.update(padding=None, normalizer=twice))
    assert ask(engine, folder).code is ErrorCode.BROKEN_TOKENIZER


@pytest.mark.parametrize(
    "fields",
    [
        {"tokenizer_class": 5}, {"model_max_length": "x"}, {"model_max_length": -5}, {"bos_token": {"a": 1}},
        {"eos_token": 5}, {"padding_side": "up"}, {"auto_map": 5}, {"auto_map": {"AutoTokenizer": "x"}},
        {"__class__": "x"}, {"split_special_tokens": "x"}, {"added_tokens_decoder": {"x": 5}},
        {"added_tokens_decoder": {"99999": {"content": "the"}}}, {"chat_template": 5}, {"chat_template": [1]},
        {"vocab_file": "/etc/passwd", "tokenizer_file": "/etc/passwd", "name_or_path": 5}, {"a": [[[[]]]]},
    ],
    ids=str,
)  # fmt: skip
def test_tokenizer_settings_that_are_odd(fields: dict[str, Any], folder: Path, engine: RecordedEngine) -> None:
    tiny.edit_json(folder / "tokenizer_config.json", **fields)
    assert ask(engine, folder).code in (None, ErrorCode.BROKEN_TOKENIZER)
    assert ask(engine, folder, tiny.request(chat_template=True)).code in (None, ErrorCode.BROKEN_TOKENIZER)
