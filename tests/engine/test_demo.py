"""The demo model, where real weights matter: known text, known bytes, and the token ids of a plain script."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from qplayground.core.generation import DEFAULT_PROMPT
from qplayground.core.messages.commands import Generate
from qplayground.core.messages.events import Generated, Loaded, PromptRead
from tests.daily import daily
from tests.engine import tiny
from tests.engine.conftest import carry_out, tokens_of

pytestmark = pytest.mark.demo

NEW_TOKENS = 12
WEIGHT_BYTES = {"fp32": 538_060_288, "bf16": 269_030_272, "int8": 163_484_032}
QUANTIZED_LAYERS = {"fp32": 0, "bf16": 0, "int8": 210, "nf4": 210}
BY_HAND: dict[str, Any] = {
    "int8": BitsAndBytesConfig(load_in_8bit=True),
    "nf4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16),
}


@pytest.mark.parametrize("precision", daily(["fp32", "bf16", "int8", "nf4"], "nf4"))
def test_the_demo_model(precision: str, demo_model: Path) -> None:
    """One test for each precision, because a load takes seconds."""
    asked = tiny.request(DEFAULT_PROMPT, max_new_tokens=NEW_TOKENS)

    events = carry_out(tiny.load_command(demo_model, precision, asked), Generate(id=2, request=asked))

    (loaded,) = (event for event in events if isinstance(event, Loaded))
    (prompt,) = (event for event in events if isinstance(event, PromptRead))
    tokens = tokens_of(events)
    generated = events[-1]
    assert isinstance(generated, Generated)
    assert len(prompt.token_ids) == 5
    assert loaded.quantized_modules == QUANTIZED_LAYERS[precision]
    if precision in WEIGHT_BYTES:
        assert loaded.weight_bytes == WEIGHT_BYTES[precision]
    if precision == "fp32":
        assert generated.text.startswith(" to augment human capabilities, not replace them.")
    assert generated.text == "".join(token.text for token in tokens)
    if precision in BY_HAND:
        assert [token.id for token in tokens] == by_hand(demo_model, BY_HAND[precision])


def by_hand(folder: Path, config: BitsAndBytesConfig) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=config, device_map="cpu"
    )
    inputs = AutoTokenizer.from_pretrained(folder)(DEFAULT_PROMPT, return_tensors="pt")
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)[0]
    return [int(token) for token in ids[inputs["input_ids"].shape[1] :]]
