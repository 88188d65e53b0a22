"""Text from token ids as they come, without ever showing half a character."""

from transformers import PreTrainedTokenizerBase

_CONTEXT_TOKENS = 6
_REPLACEMENT = "\ufffd"
_LONGEST_HOLD = 16


class Detokenizer:
    """Turns ids into text deltas.

    A token's text can depend on the tokens before it (leading spaces, characters spread over several tokens), so each
    delta is the difference between decoding a short context with and without the new tokens. A tail that decodes to
    the replacement character is held back until it is whole, or until it can no longer become so.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_ids: list[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(prompt_ids[-_CONTEXT_TOKENS:])
        self._start = 0
        self._shown = len(self._ids)

    def push(self, token_id: int) -> str:
        """The text that became certain with this token, possibly empty."""
        self._ids.append(token_id)
        before, text = self._texts()
        unfinished = text.endswith(_REPLACEMENT) and len(self._ids) - self._shown < _LONGEST_HOLD
        if unfinished or len(text) <= len(before):
            return ""
        self._accept()
        return text[len(before) :]

    def finish(self) -> str:
        """What was still held back, replacement characters and all."""
        before, text = self._texts()
        self._accept()
        return text[len(before) :]

    def _texts(self) -> tuple[str, str]:
        before = self._decode(self._ids[self._start : self._shown])
        return before, self._decode(self._ids[self._start :])

    def _accept(self) -> None:
        self._start = max(self._start, self._shown - _CONTEXT_TOKENS)
        self._shown = len(self._ids)

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
