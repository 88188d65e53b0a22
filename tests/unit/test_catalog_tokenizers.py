"""Tokenizers: the packages that a file needs, and files newer than a package, known before a load."""

import base64
import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, normalizers, pre_tokenizers, processors

from qplayground.catalog.download import checked_weights
from qplayground.catalog.inspect import inspect_folder
from qplayground.catalog.tokenizer_files import newer_tokenizer
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError
from qplayground.core.model import ModelSource
from tests.unit.catalog_files import LLAMA, TYPES, tensor_file, write_model

SENTENCEPIECE = b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02"
"""A part of its protocol buffer."""
TIKTOKEN = b"\n".join(base64.b64encode(bytes([byte])) + b" %d" % byte for byte in range(256))

Install = Callable[..., None]


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs only these of the packages that read tokenizers."""

    def install(*packages: str) -> None:
        for name in ("sentencepiece", "google", "google.protobuf", "tiktoken"):
            is_there = name in packages or (name == "google" and "google.protobuf" in packages)
            found = module_from_spec(ModuleSpec(name, None, is_package=True)) if is_there else None
            monkeypatch.setitem(sys.modules, name, found)  # None makes the import fail

    return install


def vocabulary(folder: Path, name: str, data: bytes) -> Path:
    """A model with that file as its only tokenizer."""
    write_model(folder)
    (folder / "tokenizer.json").unlink()
    (folder / name).write_bytes(data)
    return folder


def problem(folder: Path) -> ErrorInfo | None:
    return inspect_folder(folder, source=ModelSource.FOLDER, model_types=TYPES).problem


@pytest.mark.parametrize("name", ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"])
@pytest.mark.parametrize(
    ("installed", "missing"),
    [
        ((), "sentencepiece protobuf"),
        (("tiktoken",), "sentencepiece protobuf"),
        (("sentencepiece",), "protobuf"),
        (("google.protobuf",), "sentencepiece"),
    ],
)
def test_a_sentencepiece_file_names_what_reads_it(
    name: str, installed: tuple[str, ...], missing: str, only: Install, tmp_path: Path
) -> None:
    only(*installed)

    found = problem(vocabulary(tmp_path / "tiny", name, SENTENCEPIECE))

    assert found is not None and found.code is ErrorCode.MISSING_PACKAGE
    assert name in found.message and "packages sentencepiece and protobuf" in found.message
    assert f"pip install {missing}`" in found.hint
    assert not any(word in str(found) for word in ("tiktoken", "damaged", "ownload"))


def test_a_sentencepiece_file_is_fine_where_both_packages_are(only: Install, tmp_path: Path) -> None:
    only("sentencepiece", "google.protobuf")
    assert problem(vocabulary(tmp_path / "tiny", "tokenizer.model", SENTENCEPIECE)) is None


@pytest.mark.parametrize("name", ["tiktoken.model", "tokenizer.model"])
def test_a_tiktoken_file_is_told_by_what_is_in_it(name: str, only: Install, tmp_path: Path) -> None:
    only("sentencepiece", "google.protobuf")
    folder = vocabulary(tmp_path / "tiny", name, TIKTOKEN)

    found = problem(folder)

    assert found is not None and found.code is ErrorCode.MISSING_PACKAGE
    assert "package tiktoken:" in found.message and "sentencepiece" not in str(found)
    only("tiktoken")
    assert problem(folder) is None


def test_the_frozen_program_sends_nobody_to_pip(only: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only()
    monkeypatch.setattr("sys.frozen", True, raising=False)
    found = problem(vocabulary(tmp_path / "tiny", "tiktoken.model", TIKTOKEN))
    assert found is not None and "pip" not in found.hint and "tokenizer.json" in found.hint


def test_beside_a_tokenizer_json_nothing_else_is_needed(only: Install, tmp_path: Path) -> None:
    only()
    assert problem(write_model(tmp_path / "tiny", tokenizer__model=SENTENCEPIECE, spiece__model=SENTENCEPIECE)) is None


def test_beside_a_pair_of_files_only_what_is_read_first_is_needed(only: Install, tmp_path: Path) -> None:
    only()
    folder = vocabulary(tmp_path / "tiny", "spiece.model", SENTENCEPIECE)
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("")
    assert problem(folder) is None
    (folder / "tokenizer.model").write_bytes(SENTENCEPIECE)
    assert problem(folder) is not None


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_a_tokenizer_that_lies_in_git_lfs(name: str, tmp_path: Path) -> None:
    found = problem(vocabulary(tmp_path / "tiny", name, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"))
    assert found is not None and found.code is ErrorCode.BROKEN_TOKENIZER and "git lfs pull" in found.hint


# ---- a tokenizer.json of a newer version ----------------------------------------------------------------------------

FIELDS: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Strip"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}]},
    "post_processor": None,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {}, "merges": []},
}
NEWER: list[tuple[dict[str, Any], str]] = [
    ({"model": {"type": "TokenMonster", "vocab": {}}}, "model is of the kind 'TokenMonster'"),
    ({"decoder": {"type": "Graphemes"}}, "decoder is of the kind 'Graphemes'"),
    (
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "Syllables"}]}},
        "pre_tokenizer is of the kind 'Syllables'",
    ),
    ({"normalizer": {"type": "NFQ"}}, "normalizer is of the kind 'NFQ'"),
    ({"post_processor": {"type": "Outro"}}, "post_processor is of the kind 'Outro'"),
    ({"version": "2.0"}, "format is '2.0'"),
]


def write_tokenizer(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps({**FIELDS, **changes}))
    return folder


@pytest.mark.parametrize(("changes", "told"), NEWER, ids=[told for _, told in NEWER])
def test_what_is_newer_is_named_with_file_and_package(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    found = newer_tokenizer(write_tokenizer(tmp_path, **changes))

    assert found is not None and found.code is ErrorCode.MISSING_PACKAGE
    assert "tokenizer.json" in found.message and told in found.message
    assert f"installed {tokenizers.__version__}" in found.message and "tokenizers" in found.hint
    assert "damaged" not in str(found) and "ownload" not in str(found)


@pytest.mark.parametrize(
    "changes", [{}, {"decoder": {}}, {"model": []}, {"normalizer": {"type": 5}}, {"version": None}]
)
def test_what_is_not_newer_is_not_called_so(changes: dict[str, Any], tmp_path: Path) -> None:
    assert newer_tokenizer(write_tokenizer(tmp_path, **changes)) is None


def test_every_kind_that_the_package_writes_is_known(tmp_path: Path) -> None:
    """Compares with what the library writes: names in the file may differ from its class names."""
    parts: dict[str, list[Any]] = {
        "normalizer": [
            normalizers.BertNormalizer(), normalizers.ByteLevel(), normalizers.Lowercase(), normalizers.NFC(),
            normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Nmt(), normalizers.Prepend("a"),
            normalizers.Replace("a", "b"), normalizers.Strip(), normalizers.StripAccents(),
            normalizers.Sequence([normalizers.NFC()]),
        ],
        "pre_tokenizer": [
            pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(), pre_tokenizers.CharDelimiterSplit("a"),
            pre_tokenizers.Digits(), pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(),
            pre_tokenizers.Split("a", "removed"), pre_tokenizers.UnicodeScripts(), pre_tokenizers.Whitespace(),
            pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Sequence([pre_tokenizers.Digits()]),
        ],
        "post_processor": [
            processors.BertProcessing(("a", 0), ("b", 1)), processors.RobertaProcessing(("a", 0), ("b", 1)),
            processors.ByteLevel(), processors.TemplateProcessing("$A", "$A $B", []),
            processors.Sequence([processors.ByteLevel()]),
        ],
        "decoder": [
            decoders.BPEDecoder(), decoders.ByteFallback(), decoders.ByteLevel(), decoders.CTC(), decoders.Fuse(),
            decoders.Metaspace(), decoders.Replace("a", "b"), decoders.Strip("a", 0, 0), decoders.WordPiece(),
            decoders.Sequence([decoders.Fuse()]),
        ],
    }  # fmt: skip
    for part, made in parts.items():
        for each in made:
            assert newer_tokenizer(write_tokenizer(tmp_path, **{part: json.loads(each.__getstate__())})) is None, each
    for kind in ("BPE", "WordPiece", "WordLevel", "Unigram"):
        assert newer_tokenizer(write_tokenizer(tmp_path, model={"type": kind})) is None


# ---- on the hub -----------------------------------------------------------------------------------------------------


def refused_on_hub(files: dict[str, bytes], folder: Path) -> tuple[ErrorInfo | None, list[str]]:
    """The error for a repository with these files, and the names of the fetched ones."""
    fetched: list[str] = []
    repository = {"config.json": json.dumps(LLAMA).encode(), "model.safetensors": tensor_file(), **files}

    def fetch(name: str) -> Path:
        fetched.append(name)
        (folder / name).write_bytes(repository[name])
        return folder / name

    try:
        checked_weights("owner/tiny", {name: len(data) for name, data in repository.items()}, fetch, folder, TYPES)
    except PlaygroundError as error:
        return error.info, fetched
    return None, fetched


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"tokenizer.model": SENTENCEPIECE}, ErrorCode.MISSING_PACKAGE),
        ({"tokenizer.model": TIKTOKEN}, ErrorCode.MISSING_PACKAGE),
        ({"tokenizer.json": json.dumps({**FIELDS, "version": "9"}).encode()}, ErrorCode.MISSING_PACKAGE),
        ({"tokenizer.json": b"<html>"}, ErrorCode.BROKEN_TOKENIZER),
        ({"README.md": b""}, ErrorCode.BROKEN_TOKENIZER),
        ({"tokenizer.json": json.dumps(FIELDS).encode()}, None),
        ({"vocab.json": b"{}", "merges.txt": b""}, None),
    ],
)
def test_a_tokenizer_on_the_hub_is_judged_before_its_weights_come(
    files: dict[str, bytes], code: ErrorCode | None, only: Install, tmp_path: Path
) -> None:
    only()
    found, fetched = refused_on_hub(files, tmp_path)
    assert (found.code if found else None) is code
    assert "model.safetensors" not in fetched
