"""The text that quality is measured on, as tokens."""

import hashlib
import sys
from array import array
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from qplayground.core.errors import ErrorCode, fail
from qplayground.core.measures.quality import Evaluation
from qplayground.core.measures.windows import WINDOW, Windows, plan_windows
from qplayground.engines.transformers.text.detokenizer import Detokenizer
from qplayground.engines.transformers.text.tokenizing import encode


@dataclass(frozen=True)
class ScoredText:
    """A text as tokens. `first_id` replaces each window's first token if the tokenizer begins texts with it.

    A model that was never shown a text without that token expects it.
    """

    name: str
    sha256: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    first_id: int | None = None

    @property
    def ids_sha256(self) -> str:
        return hashlib.sha256(array("q", (*self.ids, -1 if self.first_id is None else self.first_id))).hexdigest()

    def window_ids(self, start: int, window: int) -> list[int]:
        """Token ids of a window, as the model gets them."""
        ids = list(self.ids[start : start + window])
        return ids if self.first_id is None else [self.first_id, *ids[1:]]

    def evaluation(self, windows: Windows) -> Evaluation:
        """What is reported about the text beside the figures."""
        return Evaluation(
            text=self.name,
            text_sha256=self.sha256,
            text_tokens=len(self.ids),
            window=windows.window,
            stride=windows.stride,
            positions=windows.positions,
            pieces=tuple(self.pieces[position] for position in windows.positions),
        )


def read_text(tokenizer: PreTrainedTokenizerBase, name: str, text: str) -> ScoredText:
    """Tokenize a text without special tokens.

    Raises PlaygroundError: BAD_FILE for a text without tokens, or BROKEN_TOKENIZER.
    """
    encoded = encode(tokenizer, text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast, verbose=False)
    ids = tuple(int(token) for token in encoded["input_ids"])
    if not ids:
        raise fail(ErrorCode.BAD_FILE, f"{name} has no text to score.", "Choose another text.")
    return ScoredText(
        name=name,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        ids=ids,
        pieces=_slices(text, encoded["offset_mapping"]) if tokenizer.is_fast else _pieces(tokenizer, ids),
        first_id=_first_id(tokenizer),
    )


def written_text(tokenizer: PreTrainedTokenizerBase, name: str, ids: tuple[int, ...]) -> ScoredText:
    """A prompt and its continuation, which are tokens already."""
    pieces = _pieces(tokenizer, ids)
    sha256 = hashlib.sha256("".join(pieces).encode()).hexdigest()
    return ScoredText(name, sha256, ids, pieces, first_id=_first_id(tokenizer))


def _first_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that the tokenizer begins texts with, if any."""
    begin = encode(tokenizer, "a")["input_ids"]
    own = tokenizer.bos_token_id is not None and begin[:1] == [tokenizer.bos_token_id]
    return tokenizer.bos_token_id if own else None


def windows_of(text: ScoredText, *, whole: bool, limit: int, most: int | None, context_tokens: int | None) -> Windows:
    """The windows to score. `whole`: a text shorter than one window is a window by itself.

    Raises PlaygroundError(BAD_FILE) for a text that is too short.
    """
    window = min(WINDOW, context_tokens or WINDOW) // 2 * 2
    if whole and len(text.ids) < window:
        window = len(text.ids) // 2 * 2
    windows = plan_windows(len(text.ids), limit=limit, most=most, window=window) if window else None
    if windows is None or not windows.starts:
        raise fail(
            ErrorCode.BAD_FILE,
            f"{text.name} has {len(text.ids):,} tokens; {max(window, 2)} are needed to score any.",
            "Choose a longer text.",
        )
    return windows


def _slices(text: str, offsets: list[tuple[int, int]]) -> tuple[str, ...]:
    """The text of each token. A character of several tokens counts as the first one's."""
    pieces, end = [], 0
    for _, after in offsets:
        pieces.append(sys.intern(text[end:after]))  # words repeat
        end = max(end, after)
    return tuple(pieces)


def _pieces(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...]) -> tuple[str, ...]:
    detokenizer = Detokenizer(tokenizer, [])
    return tuple(detokenizer.push(token) for token in ids)
