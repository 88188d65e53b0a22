"""A stub hub on this machine, as a fixture."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.catalog_files import LLAMA, tensor_file
from tests.unit.stub_hub import StubHub, running_hub

REPO = "owner/tiny"


WAIT_S = 60.0


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    """A hub and an empty cache. Child processes find them through the environment."""
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def tiny_repo(config: dict[str, object] = LLAMA) -> dict[str, bytes]:
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": tensor_file(elements=100_000),
        "tokenizer.json": b"{}",
        "chat_template.jinja": b"{{ messages }}",
        "README.md": b"# tiny",
        "modeling_evil.py": b"raise SystemExit",
        "pytorch_model.bin": b"pickle",
        "consolidated.safetensors": tensor_file(),
        "onnx/model.safetensors": tensor_file(),
    }


def sharded(names: tuple[str, ...] = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")) -> bytes:
    """An index of shards."""
    return json.dumps({"metadata": {}, "weight_map": {f"layer.{name}": name for name in names}}).encode()
