"""Where a text leaves the baseline's. It says nothing of quality: one near tie is enough to part two good texts."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import takewhile

import msgspec

_LONG = 300
_WORDS = re.compile(r"\s*\S+|\s+$")


class Divergence(msgspec.Struct, frozen=True):
    """`first_token` is the index of the first generated token that differs from the baseline's, None when none does.

    `common_prefix_tokens` counts the tokens before it. A text that was merely stopped earlier does not differ.
    """

    first_token: int | None
    common_prefix_tokens: int


class Change(msgspec.Struct, frozen=True):
    """A stretch of words; exactly one of the fields is not empty.

    `kept` in both texts, `only_ours`, `only_theirs`, or `uncompared`: ours behind the end of a baseline that was cut.
    """

    kept: str = ""
    only_ours: str = ""
    only_theirs: str = ""
    uncompared: str = ""


def diverge(ours: Sequence[int], baseline: Sequence[int]) -> Divergence:
    """Compare two continuations of one prompt, as token ids."""
    pairs = zip(ours, baseline, strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return Divergence(common if common < min(len(ours), len(baseline)) else None, common)


def word_changes(ours: str, baseline: str) -> list[Change]:
    """What to take from and add to the baseline's text to get ours, word by word (each with the space before it)."""
    new, old = _WORDS.findall(ours), _WORDS.findall(baseline)
    changes = []
    # Long repetitive texts, which small models write, would take minutes; their frequent words are passed over.
    matcher = SequenceMatcher(None, old, new, autojunk=max(len(old), len(new)) > _LONG)
    for kind, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if kind == "equal":
            changes.append(Change(kept="".join(new[new_start:new_end])))
            continue
        if old_end > old_start:
            changes.append(Change(only_theirs="".join(old[old_start:old_end])))
        if new_end > new_start:
            changes.append(Change(only_ours="".join(new[new_start:new_end])))
    return changes
