"""Texts for scoring: the built-in one, and files of all kinds."""

import hashlib
import json
import os
import tomllib
from pathlib import Path

import pytest

from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.measures.quality import TextSource
from qplayground.core.measures.windows import ALL_TOKENS, QUICK_TOKENS
from qplayground.runtime.storage import evaluation_text
from qplayground.runtime.storage.evaluation_text import baselines_folder, builtin_text, quality_request, read_text_file

RESOURCES = Path(__file__).parents[2] / "resources" / "evaluation"


def test_the_built_in_text_is_the_one_that_is_described() -> None:
    about = json.loads((RESOURCES / "about.json").read_text("utf-8"))
    assert hashlib.sha256(builtin_text().encode()).hexdigest() == about["sha256"]
    assert sum(kind["tokens"] for kind in about["composition"]) >= 6000


def test_the_built_in_text_has_this_projects_licence() -> None:
    about = json.loads((RESOURCES / "about.json").read_text("utf-8"))
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert about["license"] == project["license"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_say_what_they_are(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(("Grüße aus 東京\r\nund mehr" * 20).encode(encoding))
    assert read_text_file(path) == "Grüße aus 東京\nund mehr" * 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        ("Grüße".encode("latin-1"), "not UTF-8 text, from byte 2"),
        (b"abc\x00def", "binary"),
        (b"word " * 51, "255 characters; 256 tokens are needed"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "not UTF-8 text"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(PlaygroundError, match=said) as refused:
        read_text_file(path)
    assert refused.value.info.code is ErrorCode.BAD_FILE and refused.value.info.hint


def test_enormous_and_missing_files_are_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(evaluation_text.TEXT_LIMIT_BYTES + 1)
    for path, said in (
        (large, "at most 2 MB"),
        (tmp_path / "none.txt", "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(PlaygroundError, match=said):
            read_text_file(path)


@pytest.mark.skipif(os.name != "posix", reason="there are no such files")
def test_special_files_are_not_read() -> None:
    for path in (Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(PlaygroundError, match="is not a file"):
            read_text_file(path)


def test_a_home_that_there_is_not_is_no_file() -> None:
    with pytest.raises(PlaygroundError, match="cannot be read"):
        quality_request("~nobody-at-all/text.txt")


def test_requests(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("words " * 50)
    assert quality_request("off") is None
    builtin, prompt, mine = quality_request("builtin"), quality_request("prompt", 500), quality_request(str(path))
    assert builtin is not None and builtin.tokens == QUICK_TOKENS and builtin.text == builtin_text()
    assert prompt is not None and (prompt.source, prompt.tokens) == (TextSource.PROMPT, 500)
    assert mine is not None and (mine.name, mine.text, mine.tokens) == ("mine.txt", "words " * 50, ALL_TOKENS)


def test_baselines_are_kept_apart_from_a_persons_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QPLAYGROUND_CONFIG", str(tmp_path))
    assert baselines_folder() == tmp_path / "cache" / "baselines"
