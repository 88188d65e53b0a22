"""Turns a prompt into token ids."""

from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from qplayground.core.errors import ANOTHER_TOKENIZER, ErrorCode, fail
from qplayground.core.generation import GenerationRequest
from qplayground.engines.transformers.text.chat_template import render
from qplayground.engines.transformers.text.tokenizing import encode

MOST_TOKENS_PER_BYTE = 2
"""Tokenizers make one at most, except for a few characters that they spell out."""
MOST_SPECIAL_TOKENS = 1000


class Prompt(NamedTuple):
    """The model's input. `in_parts`: the chat template takes a turn's content as a list of parts."""

    ids: list[int]
    in_parts: bool = False


def read_prompt(tokenizer: PreTrainedTokenizerBase, request: GenerationRequest, position_limit: int | None) -> Prompt:
    """The model's input, checked against the longest text that it can take (None: any length).

    Raises PlaygroundError: EMPTY_PROMPT, BAD_SETTINGS, PROMPT_TOO_LONG, NO_CHAT_TEMPLATE, BROKEN_TOKENIZER.
    """
    error = request.error()
    if error:
        raise error
    prompt = encode_prompt(tokenizer, request)
    if not prompt.ids:
        raise fail(ErrorCode.EMPTY_PROMPT, "The prompt has no tokens.", "Type a few words for the model to continue.")
    _check_context(len(prompt.ids), request.settings.max_new_tokens, position_limit)
    return prompt


def encode_prompt(tokenizer: PreTrainedTokenizerBase, request: GenerationRequest) -> Prompt:
    """The model's input: the prompt with the tokenizer's special tokens, or as one user turn of a chat.

    Raises PlaygroundError: NO_CHAT_TEMPLATE when the requested template is missing or fails; BROKEN_TOKENIZER.
    """
    chat = request.settings.chat_template
    text, in_parts = render(tokenizer, request.prompt) if chat else (request.prompt, False)
    encoded = encode(tokenizer, text, add_special_tokens=not chat)["input_ids"]  # a chat template has its own
    if len(encoded) > MOST_TOKENS_PER_BYTE * len(text.encode()) + MOST_SPECIAL_TOKENS:
        raise fail(
            ErrorCode.BROKEN_TOKENIZER,
            f"The model's tokenizer makes {len(encoded):,} tokens of {len(text):,} characters.",
            ANOTHER_TOKENIZER,
        )
    return Prompt([int(token) for token in encoded], in_parts)


def _check_context(prompt_tokens: int, new_tokens: int, limit: int | None) -> None:
    if limit is None or prompt_tokens + new_tokens <= limit:
        return
    room = limit - prompt_tokens
    message = f"The prompt has {prompt_tokens:,} tokens and the model has positions for {limit:,}"
    if room < 1:
        raise fail(ErrorCode.PROMPT_TOO_LONG, f"{message}.", "Shorten the prompt.")
    raise fail(
        ErrorCode.PROMPT_TOO_LONG,
        f"{message}, which leaves room for {room:,} new tokens, not {new_tokens:,}.",
        f"Ask for {room:,} new tokens at most, or shorten the prompt.",
    )
