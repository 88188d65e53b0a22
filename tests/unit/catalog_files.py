"""Small hand-made models: safetensors files without a library, and folders and caches for them."""

import json
import struct
from pathlib import Path
from typing import Any

from qplayground.core.model import ModelTypes

TYPES = ModelTypes(
    causal=frozenset({"llama", "gpt2", "bert", "bart", "falcon", "bloom", "mpt"}),
    encoder_decoders=frozenset({"bart", "t5"}),
    multimodal=frozenset({"mistral3"}),
    known=frozenset({"llama", "gpt2", "bert", "bart", "falcon", "bloom", "mpt", "t5", "mistral3", "clip"}),
)
"""The only types known to this pretended transformers."""
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 2048}


def safetensors_bytes(header: Any, data: bytes = b"") -> bytes:
    """A safetensors file with that header, valid or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor_file(elements: int = 6, dtype: str = "F32", item_bytes: int = 4) -> bytes:
    """A complete file with one tensor."""
    size = elements * item_bytes
    header = {
        "__metadata__": {"format": "pt"},
        "weight": {"dtype": dtype, "shape": [elements], "data_offsets": [0, size]},
    }
    return safetensors_bytes(header, bytes(size))


def write_model(folder: Path, config: dict[str, Any] | None = None, **files: bytes) -> Path:
    """A folder with a config, one weight file and a tokenizer. `files` adds others, with `__` for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA if config is None else config))
    (folder / "model.safetensors").write_bytes(tensor_file())
    (folder / "tokenizer.json").write_text("{}")
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def write_shards(folder: Path, present: int, total: int) -> None:
    """Replace the single weight file with an index of `total` shards and the first `present` of them."""
    (folder / "model.safetensors").unlink()
    names = [f"model-{number:05}-of-{total:05}.safetensors" for number in range(1, total + 1)]
    index = {"metadata": {}, "weight_map": {f"layer.{name}": name for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in names[:present]:
        (folder / name).write_bytes(tensor_file())


def cache_repo(root: Path, repo_id: str, commit: str = COMMIT, ref: str | None = "main") -> Path:
    """A repository of the hub cache with an empty snapshot. Returns the snapshot's folder."""
    repo = root / f"models--{repo_id.replace('/', '--')}"
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir(exist_ok=True)
    (repo / "refs").mkdir(exist_ok=True)
    if ref:
        (repo / "refs" / ref).write_text(commit)
    return snapshot
