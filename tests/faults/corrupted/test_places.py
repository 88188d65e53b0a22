"""Links, pipes, odd names and outlines in place of a model's files."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from qplayground.catalog.inspect import inspect_folder
from qplayground.catalog.outline import OUTLINE
from qplayground.catalog.weights import SINGLE
from qplayground.core.errors import ErrorCode
from qplayground.core.messages.events import Failed, Loaded, MemoryEstimated
from qplayground.core.model import ModelSource
from tests.daily import daily
from tests.faults.corrupted.folders import FIRST, TYPES, RecordedEngine, ask, check_sentence

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="alarms, pipes and links as POSIX has them")


# ---- links, pipes and names -----------------------------------------------------------------------------------------


FILES = ["config.json", SINGLE, "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
FILES += ["chat_template.jinja", "special_tokens_map.json", "adapter_config.json", OUTLINE]


def linked(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


PLACES: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "zeros": linked("/dev/zero"),
    "passwords": linked("/etc/passwd"),
    "nowhere": linked("/no/such/file"),
    "outside": linked("../../../../../../no"),
    "itself": lambda path: path.symlink_to(path.name),
    "terminal": linked("/dev/tty"),
}


@pytest.mark.parametrize("place", daily(PLACES, "nowhere", "outside"))
def test_no_file_where_one_is_expected(place: str, good: Path, tmp_path: Path, engine: RecordedEngine) -> None:
    for number, name in enumerate(FILES if place in ("pipe", "zeros", "itself") else FILES[:4]):
        folder = Path(shutil.copytree(good, tmp_path / str(number)))
        if name == "tokenizer_config.json":
            (folder / "chat_template.jinja").unlink()  # otherwise the file is not read
        (folder / name).unlink(missing_ok=True)
        PLACES[place](folder / name)
        answers = ask(engine, folder)
        if name in FILES[:3]:
            assert isinstance(answers.load, Failed)
            assert "passwd" not in str(answers.load.error) and "root:" not in answers.load.error.detail


@pytest.mark.parametrize("name", ["config.json", SINGLE])
def test_a_pipe_is_called_one(name: str, folder: Path) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    problem = inspect_folder(folder, source=ModelSource.FOLDER, model_types=TYPES).problem
    assert problem is not None
    assert problem.message == f"{name} is a pipe, a device or a folder and not a file."


def test_a_snapshot_of_links_into_the_cache_is_fine(good: Path, tmp_path: Path, engine: RecordedEngine) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(good.iterdir())):
        shutil.copy(path, blobs / str(number))
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", str(number)))
    assert isinstance(ask(engine, snapshot).load, Loaded)


@pytest.mark.parametrize(
    "names",
    [
        ["a model", "'quoted' \"twice\"", "new\nline", "tab\t", "🎈 ü"],
        ["-rf", "--model", "100%s%n{0}", "<b>&amp;<img src=x>", "a:b?*", "#?%20"],
        ["x" * 255, "a;b|c&d$(e)`f`", "back\\slash", "trailing ", ".hidden", "con", "\u202egpj"],
    ],
    ids=["spaces", "dashes", "others"],
)
def test_a_folder_with_any_name(names: list[str], good: Path, tmp_path: Path, engine: RecordedEngine) -> None:
    """Nested folders of these names, and files of these names beside the model's."""
    folder = Path(shutil.copytree(good, tmp_path.joinpath(*names)))
    for name in names:
        (folder / name).touch()
    answers = ask(engine, folder)
    assert isinstance(answers.load, Loaded) and isinstance(answers.estimate, MemoryEstimated)


def test_a_folder_whose_name_is_no_text(good: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xff")
    folder = Path(shutil.copytree(good, tmp_path / name))
    (folder / name).touch()
    entry = inspect_folder(folder, source=ModelSource.FOLDER, model_types=TYPES)
    assert entry.problem is not None and not entry.usable
    check_sentence(entry.problem)
    msgspec.json.encode(entry)


def test_files_that_may_not_be_read(folder: Path, engine: RecordedEngine) -> None:
    if os.geteuid() == 0:
        pytest.skip("permissions do not bind this user")
    for name in FILES[:3]:
        (folder / name).chmod(0)
        assert isinstance(ask(engine, folder).load, Failed)
        (folder / name).chmod(0o600)


# ---- an outline that is not the program's own -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 100_000, b'{"files": {"../x": {}}}', b'{"files": {"a": {"b": ["F32", -1]}}}', b"\xff"]
)
def test_an_outline_that_is_damaged(text: bytes, folder: Path, engine: RecordedEngine) -> None:
    (folder / OUTLINE).write_bytes(text)
    assert isinstance(ask(engine, folder).load, Loaded)  # the weights are read themselves
    (folder / SINGLE).unlink()
    answers = ask(engine, folder)
    assert isinstance(answers.estimate, Failed) and answers.estimate.error.code is ErrorCode.BROKEN_WEIGHTS


def test_an_outline_cannot_speak_for_weights(folder: Path, engine: RecordedEngine) -> None:
    tensors = {FIRST: ("F32", 10**15)}
    (folder / OUTLINE).write_bytes(msgspec.json.encode({"files": {SINGLE: tensors}}))
    estimate = ask(engine, folder).estimate
    assert isinstance(estimate, MemoryEstimated)
    assert all(each.load_extra_bytes < 10**9 for each in estimate.estimates)
