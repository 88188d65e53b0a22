"""A model of about a billion parameters with random weights, so that no download is needed."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from qplayground.catalog.demo import demo_folder

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")


def make_billion(folder: Path) -> Path:
    """Llama's architecture with grouped heads and tied embeddings: 1.07 billion parameters, 2.1 GB in bfloat16."""
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=2,
        architectures=["LlamaForCausalLM"],
    )
    return _make(folder, config)


def make_wide(folder: Path) -> Path:
    """One layer as wide as in a 7-billion-parameter Llama, with a small vocabulary: 0.4 GB in bfloat16."""
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=1,
        num_attention_heads=32,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=2,
        architectures=["LlamaForCausalLM"],
    )
    return _make(folder, config)


def _make(folder: Path, config: LlamaConfig) -> Path:
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    weights = {name: _random(parameter.shape) for name, parameter in skeleton.named_parameters()}
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for name in _TOKENIZER:
        if (demo_folder() / name).exists():
            shutil.copy(demo_folder() / name, folder)
    return folder


def _random(shape: torch.Size) -> torch.Tensor:
    empty = torch.empty(shape, dtype=torch.bfloat16)
    return empty.normal_(0, 0.02) if len(shape) > 1 else empty.fill_(1)
