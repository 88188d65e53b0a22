"""Text shown token by token equals the decoded whole, and never ends in half a character."""

from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from qplayground.engines.transformers.text.detokenizer import Detokenizer
from tests.engine import tiny

KINDS = {"byte-level": tiny.byte_level_tokenizer, "byte-fallback": tiny.byte_fallback_tokenizer}
HARD = [
    "😀",
    "😀😁😂🤣😃😄😅😆",
    "👩‍👩‍👧‍👦 family",
    "🇩🇪🇫🇷",
    "日本語の文章と、漢字。",
    "한국어 문장",
    "é ä ñ as combining: e\u0301 a\u0308 n\u0303",
    "mixed é😀the日 the\u0301",
    "  two leading spaces",
    "\n\nlines\n\tand tabs\n",
    "the  cat   sat",
    "\U0001f9d1\U0001f3fd\u200d\U0001f680" * 5,
]
text_without_replacement = st.text(max_size=60).filter(lambda text: "\ufffd" not in text)


@cache
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    return KINDS[kind]()


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text)["input_ids"]]


def decoded(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def deltas(tokenizer: PreTrainedTokenizerFast, prompt: list[int], ids: list[int]) -> tuple[list[str], str]:
    """What each token shows, and what is left at the end."""
    detokenizer = Detokenizer(tokenizer, prompt)
    return [detokenizer.push(token) for token in ids], detokenizer.finish()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", HARD)
def test_hard_text_comes_whole(text: str, kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    ids = ids_of(tokenizer, text)

    shown, rest = deltas(tokenizer, [], ids)

    assert "".join(shown) == decoded(tokenizer, ids)
    assert rest == ""
    assert not any("\ufffd" in delta for delta in shown)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", HARD)
def test_a_hard_prompt_does_not_disturb_what_follows(prompt: str, kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    before, both = ids_of(tokenizer, prompt), ids_of(tokenizer, prompt + "😀日 the end")
    assert both[: len(before)] == before
    after = both[len(before) :]

    shown, rest = deltas(tokenizer, before, after)

    assert "".join(shown) == decoded(tokenizer, before + after)[len(decoded(tokenizer, before)) :]
    assert rest == ""
    assert not any("\ufffd" in delta for delta in shown)


@given(prompt=text_without_replacement, text=text_without_replacement)
@example(prompt="", text="😀" * 6)
@settings(deadline=None)
@pytest.mark.parametrize("kind", KINDS)
def test_any_text_comes_whole(kind: str, prompt: str, text: str) -> None:
    tokenizer = tokenizer_of(kind)
    before = ids_of(tokenizer, prompt)
    ids = ids_of(tokenizer, text)
    whole = decoded(tokenizer, before + ids)

    shown, rest = deltas(tokenizer, before, ids)

    assert "".join(shown) + rest == whole[len(decoded(tokenizer, before)) :]
    assert not any("\ufffd" in delta for delta in shown)


@given(ids=st.lists(st.integers(0, tiny.VOCABULARY - 1), max_size=60))
@settings(deadline=None)
def test_any_tokens_give_what_the_whole_decodes_to(ids: list[int]) -> None:
    """A model may emit bytes that are not text. Then replacement characters are correct."""
    tokenizer = tokenizer_of("byte-level")

    shown, rest = deltas(tokenizer, [], ids)

    assert "".join(shown) + rest == decoded(tokenizer, ids)


@pytest.mark.parametrize("kind", KINDS)
def test_the_space_before_the_first_new_word_is_kept(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    whole = ids_of(tokenizer, "the cat the")
    prompt = ids_of(tokenizer, "the cat")
    assert whole[: len(prompt)] == prompt

    shown, rest = deltas(tokenizer, prompt, whole[len(prompt) :])

    assert "".join(shown) == " the"
    assert rest == ""


def test_spaces_between_words_are_kept() -> None:
    tokenizer = tiny.word_tokenizer()

    assert deltas(tokenizer, [5], [6, 7, 8]) == ([" w6", " w7", " w8"], "")


def test_special_tokens_show_nothing() -> None:
    tokenizer = tokenizer_of("byte-level")
    the = ids_of(tokenizer, "the")

    shown, rest = deltas(tokenizer, [0], [*the, 1])

    assert "".join(shown) == "the"
    assert shown[-1] == "" and rest == ""


def test_a_character_is_shown_with_its_last_byte() -> None:
    tokenizer = tokenizer_of("byte-level")
    ids = ids_of(tokenizer, "😀!")
    assert len(ids) == 5

    assert deltas(tokenizer, [], ids) == (["", "", "", "😀", "!"], "")


def test_half_a_character_at_the_end_is_owned_up_to() -> None:
    tokenizer = tokenizer_of("byte-level")
    ids = ids_of(tokenizer, "ok 😀")

    shown, rest = deltas(tokenizer, [], ids[:-1])

    assert "".join(shown) == "ok "
    assert rest == "\ufffd"


def test_bytes_that_never_become_text_are_shown_in_the_end() -> None:
    tokenizer = tokenizer_of("byte-level")
    (lead, *_) = ids_of(tokenizer, "😀")

    shown, rest = deltas(tokenizer, [], [lead] * 40)

    assert "".join(shown).startswith("\ufffd")
    assert "".join(shown) + rest == "\ufffd" * 40


def test_a_long_text_decodes_only_its_end() -> None:
    """Otherwise each token of a long text would cost more than the one before."""
    longest = 0

    class Counting:
        def decode(self, ids: list[int], **options: object) -> str:
            nonlocal longest
            longest = max(longest, len(ids))
            return "".join(f" w{token}" for token in ids)

    detokenizer = Detokenizer(Counting(), list(range(5000)))
    for token in range(500):
        assert detokenizer.push(token) == f" w{token}"

    assert longest < 20
