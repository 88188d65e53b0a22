"""Reads a model's tokenizer, and explains why it cannot be read."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import import_protobuf

from qplayground.catalog.config import read_json
from qplayground.catalog.tokenizer_files import newer_tokenizer, sentencepiece_file
from qplayground.core.errors import ANOTHER_TOKENIZER, ErrorCode, PlaygroundError, fail
from qplayground.core.system.frozen import remedy
from qplayground.engines.transformers.failures.wording import first_line
from qplayground.engines.transformers.model.config import remote_code, wants_code
from qplayground.engines.transformers.text.tokenizing import check_decoder

_TOKENIZER_JSON = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer. Raises PlaygroundError(BROKEN_TOKENIZER, MISSING_PACKAGE or REMOTE_CODE)."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # corrupt files raise whatever the parser met: KeyError, ValueError, bare Exception
        raise (remote_code(error) if wants_code(error) else _no_tokenizer(path, error)) from error
    check_decoder(tokenizer)
    return tokenizer


def _no_tokenizer(path: Path, error: Exception) -> PlaygroundError:
    """Why transformers could not read it. Its own message is about the last thing that it tried."""
    detail = f"{type(error).__name__}: {error}"
    known = newer_tokenizer(path)
    if known is not None:
        return fail(known.code, known.message, known.hint, detail)
    if "tiktoken" in str(error) and (name := sentencepiece_file(path)):  # tried after sentencepiece had failed
        return _no_sentencepiece(name, detail)
    if isinstance(error, ImportError):
        return fail(
            ErrorCode.MISSING_PACKAGE,
            f"The model's tokenizer needs a package that is not installed: {first_line(error)}",
            remedy(
                "Install that package where this program is installed, or choose a copy of the model that has "
                "tokenizer.json.",
                "Choose a copy of the model that has tokenizer.json.",
            ),
            detail,
        )
    unread = [name for name in _TOKENIZER_JSON if (path / name).exists() and not _is_json(path / name)]
    if unread:
        return fail(
            ErrorCode.BROKEN_TOKENIZER, f"{unread[0]} is damaged: it is not a JSON object.", ANOTHER_TOKENIZER, detail
        )
    return fail(
        ErrorCode.BROKEN_TOKENIZER,
        f"transformers cannot read the model's tokenizer: {first_line(error)}",
        "Its files may be damaged, or newer than the installed transformers and tokenizers. Compare them with the "
        "original model's, or update both packages.",
        detail,
    )


def _no_sentencepiece(name: str, detail: str) -> PlaygroundError:
    """Why transformers could not read a sentencepiece file, though the packages are there."""
    try:
        import_protobuf()
    except Exception as error:  # the versions of the two packages may not fit
        return fail(
            ErrorCode.MISSING_PACKAGE,
            f"{name} is read with sentencepiece and protobuf, and the installed versions do not work together: "
            f"{first_line(error)}",
            remedy("Update both: `python -m pip install --upgrade sentencepiece protobuf`."),
            detail,
        )
    message = f"{name} is damaged: it is neither a sentencepiece nor a tiktoken file."
    return fail(ErrorCode.BROKEN_TOKENIZER, message, ANOTHER_TOKENIZER, detail)


def _is_json(path: Path) -> bool:
    try:
        return isinstance(read_json(path), dict)
    except (OSError, ValueError):
        return False
