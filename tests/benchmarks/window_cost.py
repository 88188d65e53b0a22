"""What the window costs the engine that it watches.

The window's process is stopped and continued every half second while an engine decodes: the tokens that came while it
stood still are compared with those of the half seconds before and after.
"""

import itertools
import statistics
from bisect import bisect_right

from tests.benchmarks.figures import Figure, median_of
from tests.benchmarks.window import compare_and_suspend

NEW_TOKENS = 400
_SETTLED_S = 0.05


def measure() -> list[Figure]:
    """For each precision, the decode speed with the window running over that with the window standing still."""
    run, turns = compare_and_suspend(NEW_TOKENS)
    return [
        median_of(f"{name}: decoding under the window / without", ratios, "", at_least=0.97)
        for name, times in run.token_times_s.items()
        if (ratios := _ratios(times, turns))
    ]


def _ratios(times: list[float], turns: list[float]) -> list[float]:
    """One ratio a standstill that has a stretch of running window on both sides."""
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
