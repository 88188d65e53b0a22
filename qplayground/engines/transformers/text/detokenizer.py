"""Turns token ids into text as they come, without ever showing half a character."""

from transformers import PreTrainedTokenizerBase

from qplayground.engines.transformers.text.tokenizing import decode

_CONTEXT_TOKENS = 6
_LONGEST_CHARACTER = 4
_REPLACEMENT = "\ufffd"
_LONGEST_HOLD = 16


class Detokenizer:
    """Turns ids into text deltas.

    A token's text can depend on the tokens before it: leading spaces, or characters spread over several tokens. So each
    delta is the difference between decoding a short context with and without the new tokens. The context is the tokens
    of the previous delta, at first the end of the prompt. A tail that decodes to the replacement character is held back
    until it is whole, or can no longer become so.

    The context begins with a whole character. Tokenizers with a token for each byte (Llama 2, Mistral, Gemma) decode a
    run of bytes all or nothing. Half a character at its beginning would spoil everything up to the next word.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_ids: list[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = self._end_of(prompt_ids)
        self._start = 0
        self._shown = len(self._ids)

    def push(self, token_id: int) -> str:
        """Add a token. Returns the text that became certain, possibly empty."""
        self._ids.append(token_id)
        before, text = self._texts()
        unfinished = text.endswith(_REPLACEMENT) and len(self._ids) - self._shown < _LONGEST_HOLD
        if unfinished or len(text) <= len(before):
            return ""
        self._accept()
        return text[len(before) :]

    def finish(self) -> str:
        """The text that was still held back, including replacement characters."""
        before, text = self._texts()
        self._accept()
        return text[len(before) :]

    def _texts(self) -> tuple[str, str]:
        before = self._decode(self._ids[self._start : self._shown])
        return before, self._decode(self._ids[self._start :])

    def _accept(self) -> None:
        self._start = self._shown
        self._shown = len(self._ids)

    def _end_of(self, prompt_ids: list[int]) -> list[int]:
        ends = (prompt_ids[-length:] for length in range(_CONTEXT_TOKENS, _CONTEXT_TOKENS + _LONGEST_CHARACTER))
        whole = (end for end in ends if not self._decode(end).startswith(_REPLACEMENT))
        return list(next(whole, prompt_ids[-_CONTEXT_TOKENS:]))

    def _decode(self, ids: list[int]) -> str:
        return decode(self._tokenizer, ids, skip_special_tokens=True)
