"""Where texts diverge, in tokens and in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qplayground.core.comparison.baseline import text_changes
from qplayground.core.comparison.results import Run
from qplayground.core.measures.divergence import Change, diverge, word_changes
from qplayground.core.tokens import Token
from tests.comparisons import done

ids = st.lists(st.integers(0, 3), max_size=12)


@pytest.mark.parametrize(
    ("ours", "baseline", "first", "common"),
    [
        ([1, 2, 3], [1, 2, 3], None, 3),
        ([1, 2, 4], [1, 2, 3], 2, 2),
        ([9], [1, 2], 0, 0),
        ([1, 2], [1, 2, 3], None, 2),
        ([1, 2, 3], [1, 2], None, 2),
        ([], [1], None, 0),
        ([1, 9, 3], [1, 2, 3], 1, 1),
    ],
)
def test_the_first_token_that_differs(ours: list[int], baseline: list[int], first: int | None, common: int) -> None:
    found = diverge(ours, baseline)
    assert (found.first_token, found.common_prefix_tokens) == (first, common)


@given(ids, ids)
def test_everything_before_the_first_difference_is_equal(ours: list[int], baseline: list[int]) -> None:
    found = diverge(ours, baseline)
    common = found.common_prefix_tokens
    assert ours[:common] == baseline[:common]
    if found.first_token is None:
        assert common == min(len(ours), len(baseline))
    else:
        assert found.first_token == common
        assert ours[common] != baseline[common]
    assert diverge(baseline, ours) == found


words = st.text(alphabet="ab \n", max_size=30)


@given(words, words)
def test_changes_give_both_texts_back(ours: str, baseline: str) -> None:
    changes = word_changes(ours, baseline)
    assert "".join(change.kept + change.only_ours for change in changes) == ours
    assert "".join(change.kept + change.only_theirs for change in changes) == baseline
    for change in changes:
        assert sum(map(bool, (change.kept, change.only_ours, change.only_theirs))) == 1


def test_a_word_is_exchanged() -> None:
    assert word_changes("the red cat", "the black cat") == [
        Change(kept="the"),
        Change(only_theirs=" black"),
        Change(only_ours=" red"),
        Change(kept=" cat"),
    ]


def written(finish_reason: str | None, *words: str) -> Run:
    run = done(text="".join(words))
    run.tokens = [Token(place, word, 0.1, None, None) for place, word in enumerate(words)]
    run.finish_reason = finish_reason
    return run


def test_a_stopped_text_lacks_nothing_that_it_did_not_come_to() -> None:
    stopped, whole = written("cancelled", " the", " red"), written("length", " the", " black", " cat", " sat")
    differing = [Change(kept=" the"), Change(only_theirs=" black"), Change(only_ours=" red")]
    assert text_changes(stopped, whole) == differing
    ended = written("stop", " the", " red")
    assert text_changes(ended, whole)[1] == Change(only_theirs=" black cat sat")


def test_what_goes_on_behind_a_stopped_baseline_is_not_compared() -> None:
    stopped, whole = written(None, " the", " red"), written("stop", " the", " red", " cat", " sat")
    assert text_changes(whole, stopped) == [Change(kept=" the red"), Change(uncompared=" cat sat")]


def test_half_a_character_at_the_end_of_a_stopped_text_is_no_difference() -> None:
    stopped, whole = written("cancelled", " the", " llama", ""), written("length", " the", " llama", "", "🦙", " sat")
    stopped.text += "\N{REPLACEMENT CHARACTER}"
    kept = Change(kept=" the llama")
    assert text_changes(stopped, whole) == [kept, Change(uncompared="\N{REPLACEMENT CHARACTER}")]
    assert text_changes(whole, stopped) == [kept, Change(uncompared="🦙 sat")]


def test_texts_of_which_no_tokens_were_kept_are_compared_whole() -> None:
    old, whole = written("cancelled", " the", " red"), written("stop", " the", " red", " cat", " sat")
    old.tokens = []
    assert text_changes(whole, old) == [Change(kept=" the red"), Change(only_ours=" cat sat")]


def test_texts_that_repeat_themselves_are_compared_in_time() -> None:
    changes = word_changes("round and round " * 2000, "round and around " * 2000)
    assert "".join(change.kept + change.only_ours for change in changes) == "round and round " * 2000
