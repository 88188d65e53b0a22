"""Models to be damaged, and the engine that loads them."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from qplayground.catalog.weights import SINGLE
from tests.engine import tiny
from tests.faults.corrupted.folders import PATIENCE_S, RecordedEngine


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A test that waits forever for a pipe, or loops forever, fails."""

    def interrupt(signum: int, frame: object) -> None:
        raise TimeoutError("this takes too long")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(3 * PATIENCE_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="package")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model. Read-only."""
    return tiny.make(tmp_path_factory.mktemp("corrupted") / "good")


@pytest.fixture(scope="package")
def good_in_shards(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in five files and an index."""
    from transformers import AutoModelForCausalLM

    folder = Path(shutil.copytree(good, tmp_path_factory.mktemp("corrupted") / "shards"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / SINGLE).unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy of the model, to be damaged."""
    return Path(shutil.copytree(good, tmp_path / "model"))


@pytest.fixture
def shards(good_in_shards: Path, tmp_path: Path) -> Path:
    """A copy of the model in several files, to be damaged."""
    return Path(shutil.copytree(good_in_shards, tmp_path / "model"))


@pytest.fixture(scope="package")
def engine() -> RecordedEngine:
    """One engine for all damaged models: what it loaded before must not matter."""
    return RecordedEngine()
