"""Which parts of a text are scored: windows of equal length, of each of which the second half counts."""

from typing import NamedTuple

WINDOW = 256
"""Tokens of a window. The first half is context, so that no token is judged without any."""
QUICK_TOKENS = 1000
"""About how many scored tokens give a first answer in seconds."""
ALL_TOKENS = 0
"""Stands for all of them where a number is asked for."""
MIN_SCORED = 100
"""Below so many scored tokens nothing is summed up."""

ROWS = 16
"""Scored tokens whose logits are worked on at once: a few megabytes, which stay in the processor's cache."""
ROUNDED_ROWS = 8
"""Of each window, those of which the effect of rounding is measured: enough for a mean."""


class Windows(NamedTuple):
    """`starts` are positions in the text's tokens, `stride` apart, each the start of `window` tokens."""

    starts: tuple[int, ...]
    window: int
    stride: int

    @property
    def context(self) -> int:
        """Tokens of a window that are read only."""
        return self.window // 2

    @property
    def scored_tokens(self) -> int:
        return len(self.starts) * (self.window - self.context)

    @property
    def positions(self) -> tuple[int, ...]:
        """Where the scored tokens stand in the text."""
        return tuple(start + offset for start in self.starts for offset in range(self.context, self.window))


def plan_windows(tokens: int, *, limit: int = ALL_TOKENS, most: int | None = None, window: int = WINDOW) -> Windows:
    """Windows for a text of so many tokens, half a window apart, so that each token from the half on is scored once.

    `limit` is how many tokens are to be scored, to within half of a window's share, ALL_TOKENS for all, `most` what
    must not be exceeded; the windows then lie farther apart, evenly over the text. A text shorter than a window has
    none.
    """
    half = window - window // 2
    places = max(0, (tokens - window) // half + 1)
    count = places if limit == ALL_TOKENS else min(places, max(1, round(limit / half)))
    if most is not None:
        count = min(count, max(1, most // half))
    stride = half if count in (places, 1) else (tokens - window) // (count - 1)
    return Windows(tuple(index * stride for index in range(count)), window, stride)
