"""The texts to score, read before anything is loaded, and the folder of baselines."""

import codecs
import stat
from pathlib import Path

from qplayground.core.errors import ErrorCode, fail
from qplayground.core.measures.quality import QualityRequest, TextSource
from qplayground.core.measures.windows import ALL_TOKENS, QUICK_TOKENS, WINDOW
from qplayground.core.system.resources import resource
from qplayground.runtime.storage.preferences import cache_folder

BASELINES_LIMIT_BYTES = 4_000_000_000
TEXT_LIMIT_BYTES = 2_000_000
"""About 500,000 tokens, which take 350 MB of an engine's memory while they are tokenized."""
_BUILTIN = "evaluation/text.txt"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def baselines_folder() -> Path:
    """Where the baselines' log-probabilities are kept."""
    return cache_folder() / "baselines"


def quality_request(text: str, tokens: int | None = None) -> QualityRequest | None:
    """A request to score `text`: `off` (None), `builtin`, `prompt` or a path. `tokens`: about how many.

    By default a file is scored whole, other texts quickly. Raises PlaygroundError(BAD_FILE) for a file that is not
    text.
    """
    if text == TextSource.OFF:
        return None
    limit = tokens if tokens is not None else ALL_TOKENS if text not in tuple(TextSource) else QUICK_TOKENS
    if text == TextSource.PROMPT:
        return QualityRequest(source=TextSource.PROMPT, name="prompt", tokens=limit)
    if text == TextSource.BUILTIN:
        return QualityRequest(source=TextSource.BUILTIN, name="builtin", text=builtin_text(), tokens=limit)
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # `~name` of an unknown user
        path = Path(text)
    return QualityRequest(source=TextSource.FILE, name=path.name, text=read_text_file(path), tokens=limit)


def builtin_text() -> str:
    """The program's own text."""
    return resource(_BUILTIN).read_text("utf-8")


def read_text_file(path: Path) -> str:
    """The content of a text file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark. Newlines become `\\n`.

    Raises PlaygroundError(BAD_FILE) for a missing, too large, binary, empty or too short file, or another encoding.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise fail(
                ErrorCode.BAD_FILE, f"{path.name or path} is not a file, so it cannot be read.", "Name a text file."
            )
        if found.st_size > TEXT_LIMIT_BYTES:
            limit = f"{TEXT_LIMIT_BYTES // 1_000_000} MB"
            sentence = f"{path.name} has {found.st_size / 1e6:,.1f} MB, and a text that is scored at most {limit}."
            raise fail(ErrorCode.BAD_FILE, sentence, "Give a part of it.")
        with path.open("rb") as file:
            data = file.read(TEXT_LIMIT_BYTES)
    except OSError as error:
        sentence = f"{path.name or path} cannot be read: {error.strerror or error}."
        raise fail(ErrorCode.BAD_FILE, sentence, "Name a text file.", str(error)) from error
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        sentence = f"{path.name} is not UTF-8 text, from byte {error.start:,} on."
        raise fail(ErrorCode.BAD_FILE, sentence, "Save it as UTF-8, or name another file.", str(error)) from error
    if "\0" in text:
        raise fail(ErrorCode.BAD_FILE, f"{path.name} is a binary file.", "Name a text file.")
    if not text.strip():
        raise fail(ErrorCode.BAD_FILE, f"{path.name} is empty.", "Name a file that has a text.")
    if len(text.encode()) < WINDOW:  # hardly a token is shorter than a byte
        sentence = f"{path.name} has {len(text):,} characters; {WINDOW} tokens are needed to score any."
        raise fail(ErrorCode.BAD_FILE, sentence, "Choose a longer text.")
    return text.replace("\r\n", "\n").replace("\r", "\n")
