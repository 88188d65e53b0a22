"""Checks whether a model's tokenizer exists and the installed packages can read it. Nothing is loaded."""

import base64
import binascii
import codecs
from collections.abc import Callable, Collection, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qplayground.catalog.config import ByteOrderMarkError, read_fields
from qplayground.catalog.headers import LFS_POINTER
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.system.frozen import remedy

TOKENIZER = "tokenizer.json"
_SETTINGS = "tokenizer_config.json"
SENTENCEPIECE = ("sentencepiece", "protobuf")
"""transformers needs both packages to read a sentencepiece file."""
_MODULES = {"protobuf": "google.protobuf"}
_VOCABULARIES = ("tekken.json", "tokenizer.model", "tiktoken.model")
"""Used without a tokenizer.json, for any tokenizer class."""
_OF_A_CLASS = ("spiece.model", "sentencepiece.bpe.model", "sentencepiece.model", "spm.model")
"""sentencepiece files that only some tokenizer classes use."""
_PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
_VOCABULARY_FREE = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
_PARTS = {
    "model": "models",
    "normalizer": "normalizers",
    "pre_tokenizer": "pre_tokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}
"""Part of a tokenizer.json → module of `tokenizers` with its classes."""
_SEQUENCES = ("normalizers", "pretokenizers", "processors", "decoders")
_FORMAT = "1.0"
_START_BYTES = 4096
_COPY_HINT = (
    "Copy the tokenizer's files (tokenizer.json, tokenizer_config.json) from the original model into the folder."
)


def tokenizer_problem(folder: Path, names: Collection[str]) -> ErrorInfo | None:
    """Why a folder's tokenizer cannot be read, or None. `names`: the folder's files. A quick check.

    Raises OSError if a file cannot be read.
    """
    name = _vocabulary(names)
    if name is None:
        if any(name.endswith(".tiktoken") or name == "vocab.txt" for name in names) or _needs_none(folder):
            return None
        return ErrorInfo(ErrorCode.BROKEN_TOKENIZER, "There is no tokenizer, so no prompt can be read.", _COPY_HINT)
    if name not in names:  # a pair of files, which transformers reads without a package
        return None
    if not (folder / name).is_file():  # a pipe would be waited for
        return ErrorInfo(ErrorCode.BROKEN_TOKENIZER, f"{name} is not a file.", _COPY_HINT)
    start = _start(folder / name)
    for file, begins in ((name, start), (_SETTINGS, _start(folder / _SETTINGS))):
        if begins.startswith(codecs.BOM_UTF8):
            return ErrorInfo(ErrorCode.BROKEN_TOKENIZER, str(ByteOrderMarkError(file)), ByteOrderMarkError.hint)
    if start.startswith(LFS_POINTER):
        hint = "Run `git lfs pull` in that folder, or download the model again."
        return ErrorInfo(ErrorCode.BROKEN_TOKENIZER, f"{name} is a Git LFS pointer, not the tokenizer itself.", hint)
    if name.endswith(".json"):
        is_json = start.lstrip().startswith(b"{")
        return None if is_json else ErrorInfo(ErrorCode.BROKEN_TOKENIZER, f"{name} is not JSON.", _COPY_HINT)
    if name == "tiktoken.model" or _is_tiktoken(start):
        return _lacking(name, "tiktoken", ("tiktoken",))
    return _lacking(name, "sentencepiece", SENTENCEPIECE)


def thorough_tokenizer_problem(names: Collection[str], fetch: Callable[[str], Path], folder: Path) -> ErrorInfo | None:
    """The same for a hub model, plus every check that needs no torch. `fetch` downloads a file into `folder`.

    Downloads only the vocabulary's file and tokenizer_config.json.
    """
    vocabulary = _vocabulary(names)
    for name in {vocabulary, _SETTINGS} & set(names):
        fetch(str(name))
    return tokenizer_problem(folder, names) or newer_tokenizer(folder)


def newer_tokenizer(folder: Path) -> ErrorInfo | None:
    """What in tokenizer.json is too new for the installed `tokenizers`; None if nothing is, or it cannot be read.

    Reads the whole file.
    """
    fields = read_fields(folder / TOKENIZER)
    found = _unknown(fields) if fields else ""
    if not found:
        return None
    from tokenizers import __version__

    return ErrorInfo(
        ErrorCode.MISSING_PACKAGE,
        f"{TOKENIZER} asks for a newer version of the package tokenizers: {found}, which the installed {__version__} "
        "does not know.",
        remedy(
            "Update it together with transformers: `python -m pip install --upgrade transformers tokenizers`.",
            "Update this program, or choose another model.",
        ),
    )


def sentencepiece_file(folder: Path) -> str:
    """The sentencepiece file that the folder's tokenizer is read from; empty if it is another kind."""
    name = _vocabulary({path.name for path in folder.iterdir()}) or ""
    if not name.endswith(".model") or name == "tiktoken.model" or not (folder / name).is_file():
        return ""
    return "" if _is_tiktoken(_start(folder / name)) else name


def _start(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_START_BYTES)


def _vocabulary(names: Collection[str]) -> str | None:
    """The file from which transformers reads the vocabulary, or None. For a pair, both names joined by "and"."""
    if TOKENIZER in names:
        return TOKENIZER
    for name in _VOCABULARIES:
        if name in names:
            return name
    for pair in _PAIRS:
        if set(pair) <= set(names):
            return " and ".join(pair)
    return next((name for name in _OF_A_CLASS if name in names), None)


def _needs_none(folder: Path) -> bool:
    return read_fields(folder / _SETTINGS).get("tokenizer_class") in _VOCABULARY_FREE


def _is_tiktoken(start: bytes) -> bool:
    """Whether lines are a base64 token and its rank. A sentencepiece file is binary from its first byte."""
    token, _, rank = start.partition(b"\n")[0].strip().partition(b" ")
    try:
        base64.b64decode(token, validate=True)
    except binascii.Error:
        return False
    return rank.isdigit()


def _lacking(name: str, kind: str, packages: tuple[str, ...]) -> ErrorInfo | None:
    missing = [package for package in packages if not _is_installed(_MODULES.get(package, package))]
    if not missing:
        return None
    read_with = f"the package{'s' if len(packages) > 1 else ''} {' and '.join(packages)}"
    return ErrorInfo(
        ErrorCode.MISSING_PACKAGE,
        f"The tokenizer is only there as a {kind} file ({name}), which transformers reads with {read_with}: "
        f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.",
        remedy(
            f"Run `python -m pip install {' '.join(missing)}` where this program is installed. Or copy {TOKENIZER} "
            "into the folder, from a copy of the model that has it.",
            f"Choose a copy of the model that has {TOKENIZER}.",
        ),
    )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # its parent package is missing
        return False


def _unknown(fields: dict[str, Any]) -> str:
    """The first thing in a tokenizer.json for which the installed `tokenizers` has no class, in words; else empty."""
    import tokenizers

    version = fields.get("version")
    if isinstance(version, str) and version != _FORMAT:
        return f"its format is {version[:20]!r}"
    for part, module in _PARTS.items():
        known = vars(getattr(tokenizers, module))
        for kind in _kinds(fields.get(part)):
            if kind not in known:
                return f"its {part} is of the kind {kind[:40]!r}"
    return ""


def _kinds(part: object) -> Iterator[str]:
    """The types in a part of a tokenizer.json; a sequence has several."""
    if not isinstance(part, dict):
        return
    if isinstance(part.get("type"), str):
        yield part["type"]
    for key in _SEQUENCES:
        inner = part.get(key)
        for each in inner if isinstance(inner, list) else ():
            yield from _kinds(each)
