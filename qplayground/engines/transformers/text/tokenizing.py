"""Runs a model's tokenizer, with limits on what its files can make it do.

It runs in Rust, which nothing in this process can interrupt. Past a limit the system ends the engine, by SIGPROF or out
of memory. `processes.process` recognizes both.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from qplayground.core.errors import ANOTHER_TOKENIZER, ErrorCode, PlaygroundError, fail
from qplayground.core.system.last_words import READING_TEXT
from qplayground.engines.transformers.failures.limits import memory_limit, processor_limit

ENCODING_S = 10.0
CHARACTERS_PER_S = 50_000
"""A slow machine reads ten times as many."""
ENCODING_BYTES = 1_000_000_000
BYTES_PER_CHARACTER = 1_000
DECODING_S = 5.0
LONGEST_TEXT = 100_000
MOST_GROWTH = 10_000
"""Largest factor by which a decoder's replacements may lengthen a text. Those of real models never do."""


def encode(tokenizer: PreTrainedTokenizerBase, text: str, **options: Any) -> Any:
    """Encode a text. Raises PlaygroundError(BROKEN_TOKENIZER), or ends the process."""
    with contextlib.suppress(OSError):  # the log is on a disk that can be full
        print(READING_TEXT, file=sys.stderr, flush=True)
    seconds = ENCODING_S + len(text) / CHARACTERS_PER_S
    try:
        with processor_limit(seconds), memory_limit(ENCODING_BYTES + BYTES_PER_CHARACTER * len(text)):
            return tokenizer(text, **options)
    except BaseException as error:  # a damaged tokenizer can raise anything
        if not _is_failure(error):
            raise
        raise _broken("is damaged: it cannot read this text", error) from error


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
    """Decode a few tokens. Raises PlaygroundError(BROKEN_TOKENIZER), or ends the process."""
    try:
        with processor_limit(DECODING_S):
            decoded = tokenizer.decode(
                list(ids), skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
            )
    except BaseException as error:
        if not _is_failure(error):
            raise
        raise _broken("is damaged: it cannot write these tokens", error) from error
    text = str(decoded)
    if len(text) > LONGEST_TEXT:
        raise _broken(f"makes {len(text):,} characters of {len(ids):,} tokens")
    return text


def check_decoder(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer whose replacements multiply a text. Each token is decoded, too often to limit memory there.

    Raises PlaygroundError(BROKEN_TOKENIZER).
    """
    decoder = tokenizer.backend_tokenizer.decoder if tokenizer.is_fast else None
    if decoder is None:
        return
    growth = 1.0
    for replacement in _replacements(json.loads(decoder.__getstate__())):
        pattern = replacement["pattern"].get("String", "")  # a regular expression can match any single character
        growth *= max(1.0, len(replacement["content"]) / max(1, len(pattern)))
        if growth > MOST_GROWTH:
            raise _broken(f"can make the text of a token more than {MOST_GROWTH:,} times longer")


def _replacements(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The replacements of a decoder, or of a sequence of decoders."""
    if part["type"] == "Replace":
        yield part
    for inner in part.get("decoders", ()):
        yield from _replacements(inner)


def _is_failure(error: BaseException) -> bool:
    """A Rust panic, as of a regular expression that gives up, is not an Exception, and its class is not public."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _broken(what: str, error: BaseException | None = None) -> PlaygroundError:
    detail = "" if error is None else f"{type(error).__name__}: {error}"[:2000]
    return fail(ErrorCode.BROKEN_TOKENIZER, f"The model's tokenizer {what}.", ANOTHER_TOKENIZER, detail)
