"""How much the window slows down the engine that it shows.

The window's process is stopped and continued about every half second while an engine decodes. Tokens during a stop are
compared with those of the half seconds before and after.
"""

import itertools
import statistics
from bisect import bisect_right

from tests.benchmarks.figures import Figure, median_of
from tests.benchmarks.window import compare_and_suspend

COMPARISONS = 3
NEW_TOKENS = 300
PROMPT = "1, 2, 3, 4, 5,"  # no precision ends its text early on it
_SETTLED_S = 0.05


def measure() -> list[Figure]:
    """For each precision, the decode speed with the window running over that with the window stopped.

    There is no target: some thirty ratios of one precision leave an error of 0.02.
    """
    ratios: dict[str, list[float]] = {}
    for _ in range(COMPARISONS):
        run, turns = compare_and_suspend(NEW_TOKENS, PROMPT)
        for name, times in run.token_times_s.items():
            ratios.setdefault(name, []).extend(_ratios(times, turns))
    everything = [ratio for found in ratios.values() for ratio in found]
    return [
        *(median_of(f"{name}: decoding under the window / without", found, "") for name, found in ratios.items()),
        median_of("all: decoding under the window / without", everything, ""),
    ]


def _ratios(times: list[float], turns: list[float]) -> list[float]:
    """One ratio for each stop that has a running window on both sides."""
    gaps: dict[int, list[float]] = {}
    for start, end in itertools.pairwise(times):
        turn = bisect_right(turns, start)
        if turn and turn < len(turns) and start > turns[turn - 1] + _SETTLED_S and end < turns[turn]:
            gaps.setdefault(turn, []).append(end - start)
    return [
        statistics.mean(gaps[still]) / statistics.mean(gaps[still - 1] + gaps[still + 1])
        for still in gaps
        if still % 2 and still - 1 in gaps and still + 1 in gaps
    ]
