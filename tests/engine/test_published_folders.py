"""Folders as people publish them: the program writes the same text as plain transformers, and its predictions hold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    BloomForCausalLM,
    PreTrainedModel,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
)

from qplayground.core.messages.commands import Generate
from qplayground.core.messages.events import Loaded
from qplayground.engines.transformers.quantizers.registry import configuration
from tests.daily import daily
from tests.engine import tiny
from tests.engine.conftest import carry_out, tokens_of

LONG = "the cat sat on the mat " * 12
"""97 tokens."""

Spoil = Callable[[Path], object]


def qwen35() -> PreTrainedModel:
    """A dense Qwen3.5 with its vision part, which transformers' causal class drops."""
    text: dict[str, Any] = {
        "vocab_size": tiny.VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        "linear_num_key_heads": 32,
        "linear_num_value_heads": 32,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "initializer_range": 0.4,
    }
    vision = {"depth": 1, "hidden_size": 64, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
    config = Qwen3_5Config(
        text_config={**text, "tie_word_embeddings": True},
        vision_config={**vision, "num_position_embeddings": 16},
        image_token_id=5,
        tie_word_embeddings=True,
    )
    return Qwen3_5ForConditionalGeneration(config)


def bloom() -> PreTrainedModel:
    return BloomForCausalLM(
        BloomConfig(vocab_size=tiny.VOCABULARY, hidden_size=64, n_layer=2, n_head=4, eos_token_id=1, pad_token_id=1)
    )


def config(**fields: Any) -> Spoil:
    return lambda folder: tiny.edit_json(folder / "config.json", **fields)


def without_prefix(folder: Path) -> None:
    """BLOOM's published tensors lack the base model's prefix. Its `seq_length` is the training length, not a limit."""
    path = folder / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    tiny.edit_json(folder / "config.json", seq_length=64)


def other_head(folder: Path) -> None:
    """A separate head, although the config ties it. All names have a prefix, as published."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    embedding = next(tensor for name, tensor in tensors.items() if name.endswith("embed_tokens.weight"))
    save_file({**tensors, "lm_head.weight": embedding.flip(0).clone()}, path, metadata={"format": "pt"})


STRETCHED = config(
    max_position_embeddings=64,
    max_sequence_length=256,
    rope_parameters=None,
    rope_scaling={"factor": 4.0, "type": "linear"},
)
CASES: dict[str, tuple[str | Callable[[], PreTrainedModel], Spoil, str]] = {
    "qwen3.5": (qwen35, lambda folder: None, tiny.PROMPT),
    "qwen3.5-untied": (qwen35, other_head, tiny.PROMPT),
    "peft": ("llama", config(architectures=["PeftModelForCausalLM"]), tiny.PROMPT),
    "no-architectures": ("qwen2", config(architectures=None), tiny.PROMPT),
    "tied-but-different": ("llama", config(tie_word_embeddings=True), tiny.PROMPT),
    "stretched": ("llama", STRETCHED, LONG),
    "longer-than-trained": ("llama", config(max_position_embeddings=64), LONG),
    "shorter-than-a-head": ("llama", config(max_position_embeddings=8), LONG),
    "bloom": (bloom, without_prefix, LONG),
    "padding": ("gpt2", config(pad_token_id=1), tiny.PROMPT),
}


@pytest.mark.parametrize("precision", daily(["fp32", "nf4"], "nf4"))
@pytest.mark.parametrize("case", CASES)
def test_it_runs_as_in_plain_transformers(tmp_path: Path, case: str, precision: str) -> None:
    family, spoil, prompt = CASES[case]
    folder = tiny.make(tmp_path / "model", family)
    spoil(folder)
    asked = tiny.request(prompt)
    events = carry_out(tiny.load_command(folder, precision, asked), Generate(id=2, request=asked))
    (loaded,) = (event for event in events if isinstance(event, Loaded))
    assert [token.id for token in tokens_of(events)] == plainly(folder, precision, prompt)
    assert loaded.unforeseen == () and loaded.estimate is not None
    assert loaded.estimate.by_kind == loaded.by_kind and loaded.estimate.kv_cache_bytes is not None


@torch.inference_mode()
def plainly(folder: Path, name: str, prompt: str) -> list[int]:
    recipe = tiny.precision(name)
    transformers.utils.logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, recipe.dtype),
        quantization_config=configuration(recipe),
        device_map={"": "cpu"},
    )
    inputs = tokenizer(prompt, return_tensors="pt")
    written = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    return [int(token) for token in written[0, inputs["input_ids"].shape[1] :]]
